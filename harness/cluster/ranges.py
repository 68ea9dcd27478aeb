"""Loopback ranges: every cluster of a machine has addresses of its own.

Range N is 127.N.0.0/16. Who holds it is decided by a socket in Linux' abstract namespace:
binding it is atomic, it counts for the same set of network interfaces as the addresses
themselves, and the system lets go of it when the process ends, however it ends.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

from contracts.errors import PermanentError

FIRST, LAST = 10, 249
_HALF = 1 << 15


def range_of(address: str) -> int | None:
    """The number of the range of an address, None outside of all ranges."""
    try:
        packed = ipaddress.IPv4Address(address).packed
    except ValueError:
        return None
    return packed[1] if packed[0] == 127 and FIRST <= packed[1] <= LAST else None


def first_address(number: int, *, services: bool) -> int:
    """The address before the first one: pods have the lower half, services the upper one."""
    return (127 << 24) + (number << 16) + (_HALF if services else 0)


def addresses(number: int, after: int, *, services: bool) -> Iterator[tuple[int, str]]:
    """All addresses of one half, as number and text, starting behind a given one."""
    base = first_address(number, services=services)
    for step in range(1, _HALF + 1):
        found = base + (after - base + step) % _HALF
        if found & 0xFF not in (0, 255):
            yield found, str(ipaddress.IPv4Address(found))


class LoopbackRanges:
    """The ranges that this process holds.

    Args:
        folder: of the cluster; decides where the search begins, so that a cluster that
            comes back finds its former range and others start elsewhere.
        scope: tests use one of their own.
    """

    def __init__(self, folder: Path, *, scope: str = "harness-cluster") -> None:
        self._folder = folder
        self._scope = scope
        self._held: list[socket.socket] = []

    def claim(self, needed: Collection[int]) -> int:
        """Hold ranges until :meth:`close` or the end of the process.

        Args:
            needed: ranges of addresses that are in use already; empty takes any free one.

        Returns:
            The range that new addresses come from.

        Raises:
            PermanentError: a needed range, or every range, belongs to other clusters.
        """
        if needed:
            for number in sorted(needed):
                if not self._hold(number):
                    raise PermanentError(
                        f"pods and services of the cluster in {self._folder} have addresses in "
                        f"127.{number}.0.0/16, which another cluster uses now: end that one first"
                    )
            return min(needed)
        digest = hashlib.blake2b(str(self._folder).encode(), digest_size=4).digest()
        count = LAST - FIRST + 1
        start = int.from_bytes(digest) % count
        for step in range(count):
            number = FIRST + (start + step) % count
            if self._hold(number):
                return number
        raise PermanentError(f"all {count} ranges of loopback addresses belong to clusters")

    def _hold(self, number: int) -> bool:
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # not inherited by pods
        try:
            mark.bind(f"\0{self._scope}-127.{number}")
        except OSError:
            mark.close()
            return False
        self._held.append(mark)
        return True

    def close(self) -> None:
        """Let go of all ranges."""
        for mark in self._held:
            mark.close()
        self._held.clear()
