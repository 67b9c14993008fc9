# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a host, or of a container: one of IPv4, and one of IPv6 where there is one.

Nothing on the way translates between the two families. So whatever names an address, a service or the other end of a
connection, says which of them is meant.
"""

from __future__ import annotations

from typing import NamedTuple


class Addresses(NamedTuple):
    """At most one of each family."""

    ip4: str
    ip6: str = ""

    @classmethod
    def read(cls, document: dict, suffix: str = "") -> Addresses:
        """Return ``address`` and ``address6`` of a document.

        :param suffix: ``_before`` for ``address_before`` and ``address6_before``.
        """
        return cls(document[f"address{suffix}"], document.get(f"address6{suffix}") or "")

    def document(self, suffix: str = "") -> dict[str, str]:
        """Return them as JSON-ready data; :meth:`read` is the way back."""
        found = {f"address{suffix}": self.ip4}
        return {**found, f"address6{suffix}": self.ip6} if self.ip6 else found

    def has_like(self, other: str) -> bool:
        """Return whether there is one of the family of another address."""
        return bool(self.ip6 if ":" in other else self.ip4)

    def insist_on(self, after: Addresses) -> None:
        """See that what has these addresses gets one of IPv6 elsewhere, if it has one. :raises LookupError: it does not."""
        if self.ip6 and not after.ip6:
            raise LookupError("the container has an IPv6 address, and its network at the destination gives it none")

    def like(self, other: str) -> str:
        """Return the one of the family of another address. :raises LookupError: there is none."""
        found = self.ip6 if ":" in other else self.ip4
        if not found:
            raise LookupError(f"{self.ip4 or self.ip6} has no address of the family of {other}")
        return found
