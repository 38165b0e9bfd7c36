"""The life of simulated PCs: believable, repeatable, and named in a lab.toml that is in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from boardherd.__main__ import cli
from boardherd.rack.fleet_telemetry import SECOND, Batch, SimulatedPc, lab_text
from boardherd_shared.inventory import Inventory
from boardherd_shared.records import BoardRecord, EventRecord, HostRecord, RelayRecord, Verdict

START = 1_800_000_000 * SECOND


def life(hours: float = 1.0, seed: int = 0, boards: int = 4) -> list[Batch]:
    pc = SimulatedPc(1, boards, seed)
    times = range(0, int(hours * 3600), 10)
    return [batch for at in times for batch in pc.measure(START + at * SECOND, (86_400 + at) * SECOND)]


def test_the_same_seed_gives_the_same_life() -> None:
    assert life(seed=1) == life(seed=1)
    assert life(seed=1) != life(seed=2)


def test_the_pace_is_that_of_an_agent() -> None:
    """A sample every time, everything again each minute, and changes at once."""
    records = [record for _, batch in life() for record in batch]
    assert sum(isinstance(record, HostRecord) for record in records) == 360
    refreshed = [record for record in records if isinstance(record, BoardRecord) and not record.change]
    assert len(refreshed) == 60 * 4


def test_boards_get_into_trouble_and_out_of_it() -> None:
    records = [record for _, batch in life(hours=8) for record in batch]
    told = [record.verdict for record in records if isinstance(record, BoardRecord) and record.change]
    assert set(told) == {Verdict.SILENT, Verdict.POWERED_OFF, Verdict.BOOTING, Verdict.ALIVE}
    events = [record for record in records if isinstance(record, EventRecord)]
    assert len(events) == len(told)
    switched = [record for record in records if isinstance(record, RelayRecord) and record.change]
    assert [record.observed for record in switched].count("off") == told.count(Verdict.POWERED_OFF)


def test_events_travel_in_envelopes_of_their_own() -> None:
    for class_, records in life(hours=8):
        assert {isinstance(record, EventRecord) for record in records} == {class_ == "events"}


@pytest.mark.parametrize(("agents", "boards"), [(1, 0), (3, 4), (2, 20), (300, 1)])
def test_the_lab_file_names_everything_that_is_reported(agents: int, boards: int) -> None:
    inventory = Inventory.parse(lab_text("bench", agents, boards))
    assert len(inventory.lab.pc) == agents
    for number in range(1, agents + 1):
        pc = SimulatedPc(number, boards)
        assert set(inventory.boards_of(pc.id)) == {board.id for board in pc.boards}
        for board in pc.boards:
            assert inventory.lab.board[board.id].power[0].name == f"{board.relay}:{board.port}"


def test_a_real_lab_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"

    def write(*more: str) -> int:
        return CliRunner().invoke(cli, ["--site", "trial", "simulate", "--lab", str(path), *more]).exit_code

    assert (write(), write("--agents", "3")) == (0, 0)
    assert path.read_text() == lab_text("trial", 3, 4)
    path.write_text('site = "lab"\n')
    assert write() == 2
    assert path.read_text() == 'site = "lab"\n'
