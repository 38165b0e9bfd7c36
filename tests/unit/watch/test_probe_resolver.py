"""Names to addresses: asked once, kept a while, never many at once, and honest about trouble."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from boardherd_agent.watch.probing.aside import aside
from boardherd_agent.watch.probing.resolver import Address, Addresses, Resolver

HERE = (Address(socket.AF_INET, ("10.0.6.7", 0)),)


class Names:
    """A name service by hand; a gate that is shut lets everybody wait."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.known: dict[str, Addresses] = {"evm-07": HERE}
        self.open = threading.Event()
        self.open.set()
        self.now = 1000.0

    def look_up(self, host: str) -> Addresses:
        self.asked.append(host)
        self.open.wait(20)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.known[host]

    def resolver(self, at_once: int = 4) -> Resolver:
        return Resolver(look_up=self.look_up, now=lambda: self.now, at_once=at_once)


async def test_a_name_is_asked_for_once_a_minute_however_many_probes_want_it() -> None:
    names = Names()
    resolver = names.resolver()
    assert await asyncio.gather(*(resolver.addresses("evm-07", 20) for _ in range(10))) == [HERE] * 10
    names.now += 59
    assert await resolver.addresses("evm-07", 20) == HERE
    assert names.asked == ["evm-07"]
    names.now += 2
    names.known["evm-07"] = moved = (Address(socket.AF_INET, ("10.0.6.8", 0)),)
    assert await resolver.addresses("evm-07", 20) == moved


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo"])
async def test_an_address_needs_no_name_service(host: str) -> None:
    names = Names()
    assert (await names.resolver().addresses(host, 20))[0].host.startswith(host.partition("%")[0])
    assert not names.asked


async def test_a_name_that_is_not_known_is_said_and_asked_for_again_soon() -> None:
    """OPS-1: the fault is named and heals."""
    names = Names()
    resolver = names.resolver()
    for _ in range(3):
        with pytest.raises(
            socket.gaierror, match='the name "evm-08" is not resolved: Name or service not known'
        ):
            await resolver.addresses("evm-08", 20)
    assert names.asked == ["evm-08"]
    names.known["evm-08"] = HERE
    names.now += 6
    assert await resolver.addresses("evm-08", 20) == HERE


@pytest.mark.parametrize("host", ["", "a..b", "x" * 300, "evm\x0007", "evm 07", "☃" * 70])
async def test_what_is_no_name_is_said(host: str) -> None:
    with pytest.raises(OSError, match="the name"):
        await Resolver().addresses(host, 20)


async def test_a_name_service_that_hangs_holds_up_nobody_else() -> None:
    """Not the stop of the agent either: its threads are nobody's to wait for (OPS-2)."""
    names = Names()
    names.open.clear()
    resolver = names.resolver(at_once=2)
    hosts = [f"evm-{number}" for number in range(10)]
    slow = await asyncio.gather(*(resolver.addresses(host, 0.05) for host in hosts), return_exceptions=True)
    assert {str(error).partition("was")[2] for error in slow} == {" not resolved within 0.05 s"}
    assert len(names.asked) == 2, "two at a time"
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("resolve"))
    assert await resolver.addresses("10.0.6.7", 0.05), "an address does not wait"
    names.open.set()
    names.known["evm-11"] = HERE
    assert await resolver.addresses("evm-11", 20) == HERE


async def test_giving_up_loses_no_place() -> None:
    names = Names()
    names.open.clear()
    resolver = names.resolver(at_once=1)
    for turns in range(8):
        task = asyncio.create_task(resolver.addresses(f"evm-{turns}", 20), name="resolution to cancel")
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    names.open.set()
    assert await resolver.addresses("evm-07", 20) == HERE


async def test_aside_hands_over_what_was_raised() -> None:
    def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await aside(work, "trouble")


def test_aside_outlives_a_loop_that_has_gone() -> None:
    release = threading.Event()

    async def leave() -> asyncio.Future[bool]:
        return aside(lambda: release.wait(20), "left behind")

    asyncio.run(leave())
    release.set()
    for thread in threading.enumerate():
        if thread.name == "left behind":
            thread.join(20)
