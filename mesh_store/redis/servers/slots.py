"""Which server holds which slot, as last heard: no I/O, shared by both colours.

A cluster is asked before the first command, and again after anything that says it changed: a server
that does not answer, a redirection, ``CLUSTERDOWN``. At most ten times a second, so that a fleet whose
calls all fail does not ask the servers that are left to death.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import AskError, ClusterDownError

from mesh_store.redis.servers.address import Host

SLOTS = 16_384

#: Seconds between two questions for the slots.
ASK_AGAIN_S = 0.1

#: Redirections one command may follow.
MOST_REDIRECTIONS = 5

#: Seconds a command waits before it asks again while its keys are on their way to another server, doubled
#: each time as long as its deadline allows.
FIRST_PAUSE_S = 0.002


class Slots:
    """Who holds what. Threads may read while one writes.

    Args:
        seeds: servers to ask first.
        clock: monotonic seconds.

    Attributes:
        primaries: the servers that held slots when they were asked.
    """

    def __init__(self, seeds: Sequence[Host], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seeds = tuple(seeds)
        self._clock = clock
        self._owners: list[Host | None] | None = None
        self._servers: tuple[Host, ...] = ()
        self.primaries: tuple[Host, ...] = ()
        self._doubtful = True
        self._asked_at = float("-inf")
        self._failed: Host | None = None

    @property
    def known(self) -> bool:
        """Whether the slots were ever heard."""
        return self._owners is not None

    @property
    def servers(self) -> frozenset[Host]:
        """Every server heard of, those to begin with included."""
        return frozenset((*self._servers, *self._seeds))

    def shall_ask(self) -> bool:
        """Tell whether to ask for the slots before the next command."""
        if self._owners is None:
            return True
        return self._doubtful and self._clock() - self._asked_at >= ASK_AGAIN_S

    def whom_to_ask(self) -> list[Host]:
        """Return the servers to ask in turn: those heard of, then those to begin with, a failed one last."""
        heard = list(self._servers)
        random.shuffle(heard)
        hosts = list(dict.fromkeys((*heard, *self._seeds)))
        hosts.sort(key=lambda host: host == self._failed)
        self._asked_at = self._clock()
        return hosts

    def learn(self, reply: Sequence[Any], asked: Host) -> None:
        """Take in the answer to ``CLUSTER SLOTS``: first slot, last slot, the primary, its replicas."""
        owners: list[Host | None] = [None] * SLOTS
        servers: dict[Host, None] = {}
        primaries: set[Host] = set()
        for first, last, *nodes in reply:
            hosts = [_host(node, asked) for node in nodes]
            servers.update(dict.fromkeys(hosts))
            primaries.add(hosts[0])
            owners[first : last + 1] = [hosts[0]] * (last + 1 - first)
        self._servers, self.primaries = tuple(servers), tuple(sorted(primaries))
        self._owners = owners
        self._doubtful = False

    def owner(self, slot: int) -> Host:
        """Return the server that holds a slot.

        Raises:
            ClusterDownError: nobody does.
        """
        owner = None if self._owners is None else self._owners[slot]
        if owner is None:
            self._doubtful = True
            raise ClusterDownError(f"CLUSTERDOWN no server holds slot {slot}")
        return owner

    def holder(self, slot: int) -> str:
        """Name the server that holds a slot; ``""`` while nobody knows."""
        owner = None if self._owners is None else self._owners[slot]
        return "" if owner is None else f"{owner[0]}:{owner[1]}"

    def moved(self, error: AskError, asked: Host) -> Host:
        """Take in that a slot is elsewhere, and return where: others are likely to have moved, too."""
        to = redirected(error, asked)
        if self._owners is not None:
            self._owners[int(error.slot_id)] = to
        self._doubtful = True
        return to

    def doubt(self, failed: Host) -> None:
        """Ask again before the next command: a server did not answer, or not as one that holds slots."""
        self._failed = failed
        self._doubtful = True


def redirected(error: AskError, asked: Host) -> Host:
    """Return where an error sends us; no host means the one that was asked."""
    return (error.host or asked[0], int(error.port))


def _host(node: Sequence[Any], asked: Host) -> Host:
    name = node[0].decode() if isinstance(node[0], bytes) else node[0]
    # A server that was told no name of its own leaves it to us; "?" is a name nobody knows yet.
    return (name if name and name != "?" else asked[0], int(node[1]))
