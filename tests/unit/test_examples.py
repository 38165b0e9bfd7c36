"""The examples in README and docs are right: commands parse, topics and payloads are understood, files check."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import click
import pytest

from boardherd.__main__ import cli
from boardherd_shared import topics
from boardherd_shared.collector_command import CollectorCommand
from boardherd_shared.command import parse_command
from boardherd_shared.inventory import Inventory

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(*languages: str) -> list[tuple[str, str]]:
    return [
        (page.name, text)
        for page in PAGES
        for language, text in BLOCK.findall(page.read_text())
        if language in languages
    ]


def commands(program: str) -> list[list[str]]:
    """Return the words of each call of ``program`` in a shell example."""
    return [
        words
        for _, text in blocks("sh", "console")
        for line in text.replace("\\\n", " ").splitlines()
        if line.removeprefix("$ ").strip().startswith(f"{program} ")
        for words in calls(line.removeprefix("$ "))
        if words and words[0] == program
    ]


def calls(line: str) -> list[list[str]]:
    """Return the words of each call in a line of a shell, without what is redirected."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            found.append([])
        elif set(word) <= set("<>"):
            next(lexer, None)
        else:
            found[-1].append(word)
    return found


def title(words: list[str]) -> str:
    return " ".join(words)[:70]


@pytest.mark.parametrize("words", commands("boardherd"), ids=title)
def test_commands_parse(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli, info_name="boardherd")
    arguments = words[1:]
    while isinstance(command, click.Group):
        context = command.make_context(command.name, list(arguments), parent=context.parent)
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        _, found, arguments = command.resolve_command(context, rest)
        assert found, f"there is no command {rest[0]}"
        command = found
    command.make_context(command.name, list(arguments), parent=context)


@pytest.mark.parametrize("words", commands("mosquitto_pub"), ids=title)
def test_published_commands_are_understood(words: list[str]) -> None:
    topic, payload = words[words.index("-t") + 1], words[words.index("-m") + 1]
    address = topics.parse(topic)
    assert address
    if address.kind is topics.Kind.COLLECTOR_COMMAND:
        CollectorCommand.model_validate_json(payload)
        return
    assert address.kind in {topics.Kind.BOARD_COMMAND, topics.Kind.COMMAND}
    parse_command(payload.encode())


@pytest.mark.parametrize("words", commands("mosquitto_sub"), ids=title)
def test_subscriptions_are_of_topics_that_exist(words: list[str]) -> None:
    for flag, topic in itertools.pairwise(words):
        if flag == "-t":
            concrete = topic.replace("state/#", "state/board/x").replace("+", "x")
            assert topics.parse(concrete), topic


@pytest.mark.parametrize(("page", "text"), [pair for pair in blocks("toml") if "site =" in pair[1]])
def test_inventories_check(page: str, text: str) -> None:
    Inventory.parse(text, Path(page))


def test_there_are_examples_of_each_kind() -> None:
    assert min(len(commands(program)) for program in ("boardherd", "mosquitto_pub", "mosquitto_sub")) >= 2


@pytest.mark.parametrize("template", topics.TEMPLATES.values())
def test_every_topic_is_documented(template: str) -> None:
    topic = re.sub(r"{(.+?)}", r"<\1>", template)
    assert f"`{topic}`" in (ROOT / "docs" / "mqtt.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
