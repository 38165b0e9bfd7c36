"""How switching everything off at several test PCs ends as one exit code."""

from __future__ import annotations

import pytest

from boardherd.commands.all_off import Life, _conclude
from boardherd.exit_codes import Exit, Failure
from boardherd.targets import Target
from boardherd_shared.command import Action, Command, CommandStep, State


def life(pc: str, state: State | None, text: str = "3 ports are off", failure: Failure | None = None) -> Life:
    it = Life(Target("lab", pc), Command(action=Action.ALL_OFF, reason="smoke"))
    it.failure = failure
    if state:
        step = CommandStep(
            id="c1",
            state=state,
            action="all-off",
            agent=pc,
            operator="ops1",
            at=1.0,
            text=text,
            observed="off",
        )
        it.steps.append(step)
    return it


def away(pc: str) -> Life:
    return life(pc, None, failure=Failure(Exit.UNREACHABLE, "nobody answered"))


def test_all_well_is_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    _conclude([life("pc-01", State.SUCCEEDED), life("pc-02", State.SUCCEEDED)], None, quiet=False)
    assert capsys.readouterr().out == "pc-01: 3 ports are off\npc-02: 3 ports are off\n"


@pytest.mark.parametrize(
    ("lives", "code"),
    [
        ([life("pc-01", State.SUCCEEDED), away("pc-02")], Exit.UNREACHABLE),
        ([life("pc-01", State.FAILED, "2 not"), away("pc-02")], Exit.HARDWARE),
        ([life("pc-01", State.REFUSED, "no"), away("pc-02")], Exit.UNREACHABLE),
        ([life("pc-01", State.RUNNING), life("pc-02", State.FAILED)], Exit.STOPPED),
    ],
)
def test_the_worst_end_is_the_exit_code_and_each_is_told(
    lives: list[Life], code: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Failure, match="pc-02: ") as failed:
        _conclude(lives, None, quiet=False)
    assert failed.value.exit_code == code
    assert ("pc-01: 3 ports are off" in capsys.readouterr().out) is (lives[0].end is None)
