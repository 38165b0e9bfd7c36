"""The local socket: the same commands under the same rules, without a broker."""

from __future__ import annotations

import asyncio
import getpass
import json
from pathlib import Path

from boardherd_agent.control.local import LocalSocket
from support.control import Lab


async def test_commands_from_this_machine_are_carried_out_and_answered(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    task = asyncio.create_task(LocalSocket(path, lab.desk.commander.submit).run(), name="local socket")
    await lab.until(path.exists)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"action": "cycle", "board": "evm-07", "id": "one"}\nnonsense\n')
    answers = []
    while len(answers) < 6:
        answers.append(json.loads(await reader.readline()))
    assert [answer["state"] for answer in answers] == ["accepted", *["running"] * 3, "succeeded", "refused"]
    assert {answer["operator"] for answer in answers} == {getpass.getuser()}
    writer.write(b'{"action": "cycle", "board": "evm-07", "id": "one"}\n')
    assert json.loads(await reader.readline())["state"] == "succeeded", "a redelivery is answered"
    writer.close()
    await writer.wait_closed()
    assert path.stat().st_mode & 0o777 == 0o660
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not path.exists()
    assert len(lab.relay.transitions) == 2


async def test_a_client_that_goes_away_disturbs_nobody(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    task = asyncio.create_task(LocalSocket(path, lab.desk.commander.submit).run(), name="local socket")
    await lab.until(path.exists)
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"action": "off", "board": "evm-07"}\n')
    writer.close()
    await lab.until(lambda: bool(lab.steps) and lab.steps[-1].final)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_place_where_no_socket_can_be_made_is_no_end(lab: Lab) -> None:
    await LocalSocket(Path("/proc/agent.sock"), lab.desk.commander.submit).run()
