"""Topics: what is built is parsed back, and nothing else is taken for ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_shared import topics
from boardherd_shared.ids import RESERVED_AGENT_IDS
from boardherd_shared.topics import Address, Kind, Topics

slugs = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
agents = slugs.filter(lambda slug: slug not in RESERVED_AGENT_IDS)


@given(
    st.sampled_from(Kind),
    st.fixed_dictionaries(
        {
            "agent": agents,
            "board": slugs,
            "relay": slugs,
            "port": st.integers(1, 100),
            "operator": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", fullmatch=True),
            "id": st.uuids().map(str),
        }
    ),
    slugs,
)
def test_what_is_built_is_parsed_back(kind: Kind, names: dict[str, str | int], site: str) -> None:
    used = {name: value for name, value in names.items() if f"{{{name}}}" in topics.TEMPLATES[kind]}
    topic = Topics(site).build(kind, **used)
    assert topics.parse(topic) == Address(kind, site, **used)  # type: ignore[arg-type]


@given(st.text(max_size=60))
def test_strange_topics_are_none_of_ours(text: str) -> None:
    assert topics.parse(text) is None
    assert topics.parse(f"{topics.ROOT}/lab/pc-01/{text}/x/y/z/a") is None


@pytest.mark.parametrize(
    "topic",
    [
        "boardherd/v1/lab/pc-01/state/relay/eth-1/0",
        "boardherd/v1/lab/PC-01/status",
        "boardherd/v2/lab/pc-01/status",
        "boardherd/v1/lab/pc-01/cmd/ops/1",
        "boardherd/v1/lab/pc-01/status/",
    ],
)
def test_near_misses_are_refused(topic: str) -> None:
    assert topics.parse(topic) is None


def test_filters_leave_a_plus_where_nothing_is_named() -> None:
    lab = Topics("lab")
    assert lab.filter(Kind.COMMAND, agent="pc-01") == "boardherd/v1/lab/pc-01/cmd/+"
    assert lab.filter(Kind.RELAY_STATE) == "boardherd/v1/lab/+/state/relay/+/+"


def test_commands_are_never_retained() -> None:
    """CMD-2: a retained command would be replayed at every reconnect."""
    assert not {Kind.COMMAND, Kind.BOARD_COMMAND, Kind.COLLECTOR_COMMAND} & topics.RETAINED
