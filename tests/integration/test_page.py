"""The page in a real Chromium."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from boardherd_collector.health import STORE
from boardherd_shared.records import Power, Verdict, Wiring
from support import shown

pytestmark = pytest.mark.asyncio(loop_scope="module")

expect.set_options(timeout=20_000)

# The contrast of the text with the least of it, by the formula of WCAG 2.
_LOWEST_CONTRAST = """() => {
  const rgb = (css) => css.match(/[\\d.]+/g).map(Number);
  const channel = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const hasText = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const texts = [...document.querySelectorAll("body *")].filter(
    (node) => node.offsetParent && !node.closest(".old") && hasText(node));
  return Math.min(...texts.map((node) => {
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }));
}"""
_SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """A real Chromium, started once."""
    program = shutil.which("chromium")
    assert program, "chromium is missing; `make test` installs it: sudo apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_SWITCHES)
        yield browser
        await browser.close()


@dataclass
class Visit:
    """A browser that looks at the page, and everything it complained about."""

    site: shown.Site
    page: Page
    complaints: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(loop_scope="module")
async def visit(chromium: Browser) -> AsyncIterator[Visit]:
    """The page of a small lab, opened; fails the test when the browser complained."""
    async with shown.Site() as site:
        context = await chromium.new_context(viewport={"width": 1280, "height": 900})
        visit = Visit(site, await context.new_page())
        visit.page.on("console", lambda message: visit.complaints.append(message.text))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        await visit.page.goto(site.url)
        yield visit
        await context.close()


def row(visit: Visit, board: str) -> Locator:
    return visit.page.locator(f"#board-{board}")


async def test_the_lab_is_shown(visit: Visit) -> None:
    page = visit.page
    await expect(page).to_have_title("lab · boardherd")
    await expect(row(visit, "evm-01")).to_contain_text("J721E_EVM #1")
    await expect(row(visit, "evm-01").locator(".pill")).to_have_text("alive")
    await expect(row(visit, "evm-01").locator(".probe.yes")).to_have_count(3)
    await expect(row(visit, "evm-02")).to_contain_text("blame: board")
    await expect(row(visit, "evm-05")).to_contain_text("agent pc-02 silent for 14 min")
    await expect(page.locator("#port-eth-1-3")).to_contain_text("should be ON")
    await expect(page.locator("#port-pdu-1-3 .power")).to_have_text("UNKNOWN")
    await expect(page.locator("#port-eth-1-1")).to_contain_text("by ci-nightly 2 h ago")
    await expect(page.locator("#pc-pc-01")).to_contain_text("load 1.25")
    await expect(page.locator("#pc-pc-03")).to_contain_text("other inventory")
    await expect(page.locator("#recent")).to_contain_text("eth-1 has 8 ports, there is no port 9")
    assert visit.complaints == []


async def test_a_change_shows_without_a_reload(visit: Visit) -> None:
    await visit.page.evaluate("window.mark = document.getElementById('board-evm-02').firstElementChild")
    view = visit.site.fleet.current
    off = shown.port("eth-1", 2, Power.OFF, board="evm-02", switched_by="ops1", switched_at=shown.micros(0))
    eth = view.relays[0].model_copy(
        update={"ports": tuple(off if port.port == 2 else port for port in view.relays[0].ports)}
    )
    boards = tuple(
        shown.board("evm-02", Verdict.POWERED_OFF, power=("eth-1:2",), reason="eth-1:2 is off")
        if board.id == "evm-02"
        else board
        for board in view.boards
    )
    visit.site.fleet.show(view.model_copy(update={"boards": boards, "relays": (eth, view.relays[1])}))
    await expect(row(visit, "evm-02").locator(".pill")).to_have_text("powered off")
    await expect(row(visit, "evm-02").locator(".power")).to_have_text("OFF")
    await expect(visit.page.locator("#port-eth-1-2")).to_contain_text("by ops1")
    still = "window.mark === document.getElementById('board-evm-02').firstElementChild"
    assert await visit.page.evaluate(still)  # merged, not replaced
    assert visit.complaints == []


async def test_what_comes_and_goes_is_added_and_removed(visit: Visit) -> None:
    view = visit.site.fleet.current
    await expect(visit.page.locator(".boards tbody tr")).to_have_count(6)
    visit.site.fleet.show(view.model_copy(update={"boards": (*view.boards, shown.board("evm-99"))}))
    await expect(visit.page.locator(".boards tbody tr")).to_have_count(7)
    visit.site.fleet.show(view.model_copy(update={"boards": view.boards[2:4]}))
    await expect(visit.page.locator(".boards tbody tr")).to_have_count(2)
    await expect(row(visit, "evm-03").locator(".pill")).to_have_text("powered off")


async def test_a_row_opens_its_why_and_stays_open(visit: Visit) -> None:
    row = visit.page.locator("#board-evm-02")
    five = row.locator(".five")
    await expect(five).to_be_hidden()
    await row.locator("summary").click()
    await expect(five).to_be_visible()
    lines = (await five.inner_text()).split("\n")
    assert len(lines) == 5
    assert lines[0] == "evm-02  SILENT for 2 h, blame: board"
    assert lines[4].endswith("boardherd power cycle evm-02 --wait-alive")
    visit.site.fleet.show(shown.fleet(site="another"))
    await expect(visit.page.locator(".site")).to_have_text("another")
    await expect(five).to_be_visible()
    await row.locator("summary").click()
    await expect(five).to_be_hidden()


async def test_wiring_and_a_slow_boot_show(visit: Visit) -> None:
    wiring = Wiring(state="suspect", at=shown.micros(600), text="evm-02 fell silent in its place")
    old = shown.fleet()
    first = old.boards[0]
    assert first.state is not None
    state = first.state.model_copy(update={"wiring": wiring, "slow": "login took 41 s, usually 19 s"})
    boards = (first.model_copy(update={"state": state}), *old.boards[1:])
    visit.site.fleet.show(shown.fleet(boards=boards))
    row = visit.page.locator("#board-evm-01")
    await expect(row.locator(".wiring")).to_have_text("wiring suspect 10 min ago")
    await expect(row.locator(".c-why > .old")).to_have_text("slow boot: login took 41 s, usually 19 s")


async def test_ages_count_on_by_themselves(visit: Visit) -> None:
    seen = visit.page.locator("#pc-pc-01 .seen time")
    await expect(seen).to_have_text(re.compile(r"\d+ s ago"))
    before = await seen.inner_text()
    await expect(seen).not_to_have_text(before)


async def test_trouble_of_the_collector_shows(visit: Visit) -> None:
    """OPS-1: a database that is away shows on the page, and is gone from it afterwards."""
    site = visit.site
    site.health.set(STORE, ok=False, text="the disk is full")
    site.fleet.show(site.fleet.current.model_copy(update={"banner": "history not stored since 02:10"}))
    await expect(visit.page.locator("#live .banner")).to_contain_text("history not stored since 02:10")
    await expect(visit.page.locator(".components .bad")).to_contain_text("the disk is full")
    site.health.set(STORE, ok=True, text="SQLite")
    site.fleet.show(site.fleet.current.model_copy(update={"banner": None}))
    await expect(visit.page.locator("#live .banner")).to_have_count(0)
    await expect(visit.page.locator(".components .bad")).to_have_count(0)


async def test_a_lost_collector_is_not_mistaken_for_a_quiet_lab(visit: Visit) -> None:
    """OPS-1: the page says that it is no longer live, and recovers by itself."""
    lost = visit.page.locator("#lost")
    await expect(lost).to_be_hidden()
    await visit.site.stop()
    await expect(lost).to_be_visible()
    await expect(lost).to_contain_text("Connection to the collector lost")
    await visit.site.start()
    await expect(lost).to_be_hidden(timeout=15_000)


async def test_hostile_names_are_text(visit: Visit) -> None:
    """SEC-2: a name with markup in it is shown as it is and does nothing."""
    attack = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>'
    visit.site.fleet.show(shown.fleet(boards=(shown.board("evm-01", name=attack, reason=attack),)))
    await expect(row(visit, "evm-01").locator("strong")).to_have_text(attack)
    await visit.page.reload()
    await expect(row(visit, "evm-01").locator("strong")).to_have_text(attack)
    assert await visit.page.evaluate("window.owned") is None
    assert visit.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_it_fits_a_phone_and_a_desk(visit: Visit, scheme: Literal["light", "dark"], width: int) -> None:
    page = visit.page
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 800})
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert await page.evaluate(_LOWEST_CONTRAST) >= 4.5
    assert visit.complaints == []


async def test_it_can_be_read_without_scripts(chromium: Browser) -> None:
    async with shown.Site() as site:
        context = await chromium.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(site.url)
        await expect(page.locator("#board-evm-01 .pill")).to_have_text("alive")
        await context.close()


async def test_the_page_asks_nobody_else(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    await visit.page.reload()
    await expect(row(visit, "evm-01")).to_be_visible()
    assert asked
    assert all(url.startswith(visit.site.url) for url in asked)
