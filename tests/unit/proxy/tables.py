# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection table that behaves like the kernel's where flows are concerned, and remembers what was asked of it."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from relocate_proxy.network.conntrack import ESTABLISHED_SECONDS, Endpoint, Entry


class FakeTable:
    """Entries by original tuple; an entry is found by either tuple, and both must be free for a new one."""

    def __init__(self, *entries: Entry) -> None:
        """Hold ``entries``."""
        self.held: list[Entry] = list(entries)
        self.calls: list[str] = []
        self.closed = False

    def entries(self) -> Iterator[Entry]:
        """Yield all."""
        yield from list(self.held)

    def find(self, protocol: str, source: Endpoint, destination: Endpoint) -> Entry | None:
        """Return what has this tuple, in either direction."""
        for entry in self.held:
            tuples = ((entry.source, entry.destination), (entry.reply_source, entry.reply_destination))
            if entry.protocol == protocol and (source, destination) in tuples:
                return entry
        return None

    def delete(self, protocol: str, source: Endpoint, destination: Endpoint) -> bool:
        """Forget what has this tuple."""
        self.calls.append(f"delete {protocol} {source} > {destination}")
        found = self.find(protocol, source, destination)
        if found:
            self.held.remove(found)
        return found is not None

    def insert(
        self,
        protocol: str,
        source: Endpoint,
        destination: Endpoint,
        *,
        source_nat: Endpoint | None = None,
        destination_nat: Endpoint | None = None,
        seconds: int = ESTABLISHED_SECONDS,
    ) -> None:
        """Place an entry instead of one that has its original tuple, in either direction."""
        self.calls.append(f"insert {protocol} {source} > {destination} snat {source_nat} dnat {destination_nat}")
        if found := self.find(protocol, source, destination):
            self.held.remove(found)
        entry = Entry(protocol, source, destination, destination_nat or destination, source_nat or source)
        if self.find(protocol, entry.reply_source, entry.reply_destination):
            raise OSError(errno.EEXIST, "File exists")
        self.held.append(entry)

    def close(self) -> None:
        """Nothing is used afterwards."""
        self.closed = True
