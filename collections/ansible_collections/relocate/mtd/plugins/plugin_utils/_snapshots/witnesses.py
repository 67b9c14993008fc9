# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host is dead, or only out of the controller's reach: others of the fleet are asked whether they hear it.

That nobody hears a host proves no more than that nobody reaches it, and that is enough: clients come through the edges, which
are among the witnesses. If it lives on its own island, it is fenced there before anything is restored.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable, checked, said
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports

#: How many Docker hosts are asked beside the edges; each takes some seconds.
MOST = 4
SSH, NOBODY = 22, 1  # ports: one that is open, and one that a living host refuses


class Alive(Refused):
    """A host that was called dead is heard. :ivar host: which one."""

    def __init__(self, host: str, message: str) -> None:
        super().__init__(message)
        self.host = host


def hear(remotes: Remotes, dead: list[str], edges: list[str], others: list[str]) -> None:
    """See that nobody hears the hosts that are called dead.

    :param edges: all of them have to testify. :param others: Docker hosts that answer the controller; some of them are asked,
        and one that does not testify says nothing.
    :raises Alive: somebody hears one of them; :raises Refused: an edge does not testify.
    """
    asking = Asking(remotes)
    for host in dead:
        address = asking.address(host)
        ports = [int(remotes.of(host).get("ansible_port") or SSH), NOBODY]
        for witness in [*edges, *others[:MOST]]:
            told = _testimony(remotes, witness, {"address": address, "ports": ports}, must=witness in edges)
            if told.get("heard"):
                how = f"{witness} hears it at {address} ({told['how']})"
                raise Alive(
                    host,
                    f"{host} is not dead: the controller does not reach it, but {how}, so what it has may run; see to its "
                    "connection, or switch it off first",
                )


def _testimony(remotes: Remotes, witness: str, asked: dict[str, Any], must: bool) -> dict[str, Any]:
    try:
        answer = remotes.of(witness).module("relocate.mtd.host_witness", **asked)
        if not answer.get("failed"):
            told: dict[str, Any] = checked(witness, reports.testimony, answer)
            return told
        problem = said(answer)
    except Unreachable as error:
        problem = error.message
    if must:
        raise Refused(
            f"the edge {witness} cannot say whether it hears {asked['address']} ({problem}): nothing was restored"
        )
    return {}
