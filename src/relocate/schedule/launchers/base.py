# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scheduler asks of a launcher, and what it tells it. The service knows nothing else of Ansible."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import strangers

#: What a relocation can have come to. ``in-doubt`` is settled by recovery; ``refused`` touched nothing.
OUTCOMES = ("committed", "rolled-back", "refused", "in-doubt", "failed")


@dataclass(frozen=True)
class Move:
    """One relocation that is to happen now.

    ``id`` becomes the relocation's own id on the hosts and in the ledger (as the variable ``relocation_id``), so that what
    became of it can be found after a crash. ``due_at`` is in seconds since the epoch: the alert. ``source`` is the host on
    which the container was last seen; ``variables`` are the playbook's extra variables, complete.
    """

    id: str
    container: str
    source: str
    reason: str
    due_at: float
    variables: dict[str, Any] = field(default_factory=dict)


class LaunchError(Exception):
    """No relocation was attempted; the message is one sentence with the reason and the remedy."""


def require_names(move: Move) -> None:
    """Check that a move names a container and itself: both were said by hosts, or have lain in a database since.

    Raises LaunchError where they do not.
    """
    try:
        strangers.container_name(move.container)
        strangers.identifier(move.id)
    except strangers.Odd as odd:
        raise LaunchError(str(odd)) from None


class Launcher(Protocol):
    """Carries moves out. One instance serves all threads of the service."""

    name: str

    def launch(self, move: Move, cancelled: threading.Event) -> dict[str, Any]:
        """Carry ``move`` out and return the relocation's result document; blocks until it has ended.

        The document has at least ``outcome`` (one of :data:`OUTCOMES`), ``id``, ``downtime_ms`` (None unless committed) and
        ``msg``. ``cancelled`` asks for an early end, which is given only where nothing has been frozen. Raises LaunchError when
        no relocation was attempted.
        """

    def recover(self) -> dict[str, list[Any]]:
        """Finish or roll back what a crash left; return what was ``settled``, is ``in_progress`` and was ``left``.

        Raises LaunchError when that could not be done; whoever calls it tries again later.
        """
