// Keeps the page live: the server says when the fleet has changed, the new sections are fetched as HTML (escaped by
// the server) and merged into the page node by node, so that scrolling and text selection survive.
"use strict";

const SILENCE_MS = 15000; // the server speaks every five seconds at least
const live = document.getElementById("live");
const lost = document.getElementById("lost");
let heardAt = Date.now();
let skewMs = 0;
let busy = false;
let again = false;

function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

function tick() {
  const now = (Date.now() - skewMs) / 1000;
  for (const node of live.querySelectorAll("time[data-at]")) {
    const text = node.textContent.replace(/\d+ (s|min|h|d)\b/, age(now - Number(node.dataset.at)));
    if (text !== node.textContent) node.textContent = text;
  }
  if (Date.now() - heardAt > SILENCE_MS) showLost();
}

function showLost() {
  if (!lost.hidden) return;
  document.getElementById("lost-at").textContent = new Date(heardAt).toLocaleTimeString();
  lost.hidden = false;
  document.body.classList.add("is-lost");
}

function showLive() {
  heardAt = Date.now();
  lost.hidden = true;
  document.body.classList.remove("is-lost");
}

function learnSkew() {
  const top = live.querySelector("[data-now]");
  if (top) skewMs = Date.now() - Number(top.dataset.now) * 1000;
}

function merge(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    const opened = old.nodeName === "DETAILS" && name === "open"; // by the reader, of whom the server knows nothing
    if (!fresh.hasAttribute(name) && !opened) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  mergeChildren(old, fresh);
}

function mergeChildren(old, fresh) {
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, index) => (before[index] ? merge(before[index], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

async function refresh() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  const began = Date.now();
  try {
    const response = await fetch("/sections", { cache: "no-store" });
    if (!response.ok) throw new Error(`the collector answers ${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html").body;
    mergeChildren(live, fresh);
    learnSkew();
    showLive();
  } catch {
    showLost();
  }
  // A large lab takes longer to draw: leave the browser and the collector three quarters of their time.
  setTimeout(rest, 3 * (Date.now() - began));
}

function rest() {
  busy = false;
  if (!again) return;
  again = false;
  refresh();
}

const stream = new EventSource("/events");
stream.addEventListener("fleet", refresh);
stream.addEventListener("error", showLost);
learnSkew();
setInterval(tick, 1000);
