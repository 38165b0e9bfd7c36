"""N07, N08: a broker whose name nobody can resolve, and one whose certificate nobody should believe."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.certificates import Authority
from faults.laboratory import Laboratory
from faults.names import ANSWER_WITHIN_S, NAME, NameServer
from faults.systems import Boardherd
from support.faults import all_is_well, said, until
from support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a process a name server of its own")
async def test_names_that_are_resolved_late_not_at_all_or_otherwise(tmp_path: Path) -> None:
    """DEL-1, DEL-5, OPS-1, OPS-2 (N07): records go on being taken meanwhile, and each connect asks anew."""
    names = NameServer()
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab, names.serving():
        child, line = lab.pcs[0].child, lab.pcs[0].line
        await child.end()
        url = child.command.index("--broker") + 1
        child.command[url] = child.command[url].replace("127.0.0.1", NAME)
        child.command = names.asked_by(child.command, tmp_path)
        child.start()
        await lab.fresh()

        names.delay_s, slowly = ANSWER_WITHIN_S - 0.5, names.asked
        line.reset()
        await until(lambda: names.asked > slowly)
        await lab.fresh()
        names.delay_s, names.answer = 0.0, None
        line.reset()
        await until(lambda: said(child, "name resolution"))
        asked = names.asked
        await until(lambda: names.asked > asked)
        ended = time.time()
        assert await child.end() == 0, "a question that is under way keeps nothing from stopping"
        assert time.time() - ended < 10

        names.answer = "127.0.0.2"
        child.start()
        await until(lambda: said(child, "Connection refused"))
        names.answer = "127.0.0.1"
        await all_is_well(lab)
        with closing(sqlite3.connect(lab.place / "history.db")) as db:
            times = [
                at / 1e6 for (at,) in db.execute("SELECT timestamp FROM pc_stats ORDER BY process_count")
            ]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times) if later < ended]
    assert max(gaps) < ANSWER_WITHIN_S - 1, "the event loop waited for a name"


@dataclass(frozen=True)
class BoardherdOverTls(Boardherd):
    """Everybody comes by TLS, and trusts the authority whose certificate lies in ``ca.crt``."""

    port: int = 0

    @classmethod
    def on(cls, port: int) -> BoardherdOverTls:
        files = "certfile {place}/server.crt\nkeyfile {place}/server.key\n"
        return cls(port=port, broker_extra=f"persistence false\nlistener {port} 127.0.0.1\n{files}")

    def agent(self, place: Path, agent: str, broker: str, rate: float) -> list[str]:
        # The generator has no key for the authority; OpenSSL's own variable says the same.
        trust = f"SSL_CERT_FILE={place.parent}/ca.crt"
        return ["env", trust, *super().agent(place, agent, f"mqtts://127.0.0.1:{self.port}", rate)]

    def collector(self, place: Path, broker: str, agents: list[str]) -> list[str]:
        command = super().collector(place, f"mqtts://127.0.0.1:{self.port}", agents)
        config = place / "collector.toml"
        config.write_text(config.read_text().replace("[broker]\n", f'[broker]\nca_file = "{place}/ca.crt"\n'))
        return command


async def test_certificates_that_are_not_to_be_believed(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (N08): refused with the reason, nothing is said to such a broker; renewed ones need no restart."""
    own, other = Authority(tmp_path / "own"), Authority(tmp_path / "other")
    server, trusted = tmp_path / "server", tmp_path / "ca.crt"
    own.sign(server)
    shutil.copyfile(own.certificate, trusted)
    async with Laboratory(BoardherdOverTls.on(free_port()), tmp_path, rate=50) as lab:
        await lab.fresh()
        sides = lab.collector, lab.pcs[0].child
        bad = (
            (lambda: own.sign(server, days=-1), "certificate has expired"),
            (lambda: own.sign(server, "DNS:elsewhere.lab.test"), "IP address mismatch"),
            (lambda: other.sign(server), "unable to get local issuer certificate"),
        )
        for make, reason in bad:
            await lab.broker.end()
            make()
            lab.broker.start()
            await until(lambda reason=reason: all(said(side, reason) for side in sides), 30)
        assert said(lab.broker, "New client connected") == 2, "the two of the beginning"
        shutil.copyfile(other.certificate, trusted)  # the whole authority is replaced, while everybody runs
        await all_is_well(lab)
        assert (lab.collector.starts, lab.pcs[0].child.starts) == (1, 1)
