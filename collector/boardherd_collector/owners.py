"""Who may speak about what: a board and the ports that feed it belong to one test PC."""

from __future__ import annotations

from boardherd_shared.inventory import Inventory


class Owners:
    """What the inventory says about ownership."""

    def __init__(self, inventory: Inventory | None = None) -> None:
        """Take the owners from ``inventory``; without one nothing has an owner."""
        boards = inventory.lab.board if inventory else {}
        agents = {id_: inventory.agent_of(board) for id_, board in boards.items()} if inventory else {}
        self._boards = {id_: agent for id_, agent in agents.items() if agent}
        self._ports = {
            (wire.relay, wire.port): self._boards[id_]
            for id_, board in boards.items()
            for wire in board.wires
            if id_ in self._boards
        }

    def of_board(self, board: str) -> str | None:
        """Return the PC that controls ``board``, None if the inventory does not say."""
        return self._boards.get(board)

    def of_port(self, relay: str, port: int) -> str | None:
        """Return the PC whose board hangs on the port, None if the inventory does not say."""
        return self._ports.get((relay, port))


def prevails(owner: str | None, agent: str, present: str | None) -> bool:
    """Tell whether the word of ``agent`` counts.

    The declared owner's does; where none is declared, that of the first to speak (``present``) does.
    """
    if owner is not None:
        return agent == owner
    return present is None or agent == present
