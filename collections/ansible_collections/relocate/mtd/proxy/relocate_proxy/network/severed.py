# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a frozen container, cut from inside its own namespace: what members of a project say to each other.

Members of a project are frozen together and dumped one beside the other. Their kernels know nothing of that: one that has
something to send goes on sending it, and its peer's kernel acknowledges. An acknowledgement that comes between the dumps of the
two would be of bytes that no image has. So each is cut off before it is dumped. What is not acknowledged then is sent again by
the copy; what is acknowledged the peer had before, and so has its image.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..host import syscalls
from .nft import Nft

TABLE = "inet relocate_severed"
_CUT = "".join(
    f"add chain {TABLE} {hook} {{ type filter hook {hook} priority -400; policy drop; }}\n"
    for hook in ("input", "output")
)
_MEND = f"add table {TABLE}\ndelete table {TABLE}\n"  # no error where there is none


class Severed:
    """The means to cut a container off. :param namespace: of its network, ``/proc/PID/ns/net``.

    :raises NftError: this host's kernel has no such rules: known before anything is frozen.
    """

    def __init__(self, namespace: str) -> None:
        self._nft = syscalls.in_network(namespace, Nft)  # its socket stays in that namespace
        self._nft.run(f"add table {TABLE}\n{_CUT}delete table {TABLE}\n")

    def cut(self) -> None:
        """Let nothing in or out any more. :raises NftError: that cannot be done."""
        self._nft.run(f"add table {TABLE}\n{_CUT}")

    def mend(self) -> None:
        """Let everything pass again. Idempotent. :raises NftError: that cannot be done."""
        self._nft.run(_MEND)


def mend(pids: Iterable[int]) -> None:
    """Undo the cut for the container of these processes, if there is one. Idempotent; nothing to do if they are gone.

    :raises NftError: it cannot be undone: the container must not run so.
    """
    for pid in pids:
        try:
            syscalls.in_network(f"/proc/{pid}/ns/net", lambda: Nft().run(_MEND))
        except (FileNotFoundError, ProcessLookupError):  # this one has just been killed: another may be there
            continue
        return
