# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to have a relocation carried out: on this machine, on an execution node, by AWX, or not at all.

It may import ``move`` and ``lab``, and nothing of the scheduler around it. Invariant: a launcher that cannot say how a move
ended says ``in-doubt``; it never guesses.
"""

from __future__ import annotations

from relocate.schedule.launchers.base import OUTCOMES, Launcher, LaunchError, Move
from relocate.schedule.launchers.keeping import Keeper, RunnerKeeper
from relocate.schedule.launchers.settings import (
    AwxSettings,
    LauncherSettings,
    NullSettings,
    RunnerSettings,
    StreamSettings,
)

__all__ = ["OUTCOMES", "Keeper", "LaunchError", "Launcher", "LauncherSettings", "Move", "keeper", "make"]


def make(
    settings: RunnerSettings | StreamSettings | AwxSettings | NullSettings, inventory: str | None = None
) -> Launcher:
    """Return the launcher that ``settings`` describe, for the fleet of ``inventory`` (AWX has an inventory of its own).

    Raises Refusal for an inventory or a token that is not there.
    """
    # A launcher's libraries are loaded when it is used: the null launcher needs neither Ansible nor an HTTP client.
    match settings:
        case RunnerSettings():
            from relocate.schedule.launchers.runner import RunnerLauncher

            return RunnerLauncher(settings, inventory)
        case StreamSettings():
            from relocate.schedule.launchers.stream import StreamLauncher

            return StreamLauncher(settings, inventory)
        case AwxSettings():
            from relocate.schedule.launchers.awx import AwxLauncher

            return AwxLauncher(settings)
        case NullSettings():
            from relocate.schedule.launchers.null import NullLauncher

            return NullLauncher(settings)


def keeper(
    settings: RunnerSettings | StreamSettings | AwxSettings | NullSettings, inventory: str | None = None
) -> Keeper | None:
    """Return what makes and restores snapshots beside a launcher; None beside one that can not.

    Raises Refusal for an inventory that is not there.
    """
    return RunnerKeeper(inventory) if isinstance(settings, RunnerSettings) else None
