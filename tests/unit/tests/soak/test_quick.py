# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shells that stay."""

from __future__ import annotations

import pytest
from quick import QuickFleet


def test_a_shell_that_has_ended_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host was lost and is back: the next question goes by a new one."""
    monkeypatch.setattr(QuickFleet, "ssh", lambda *_: ["bash"])
    fleet = QuickFleet({})
    first = fleet.on("host1", "echo $PPID")
    assert fleet.on("host1", "cat; echo $PPID", data="said ") == f"said {first}"
    assert fleet.on("host1", "kill -9 $PPID", check=False).startswith("the host hung up")
    shell = fleet.on("host1", "echo $PPID")
    fleet._idle["host1"][0]._process.kill()
    fleet._idle["host1"][0]._process.wait()
    assert first != shell != fleet.on("host1", "echo $PPID")
    fleet.end()
