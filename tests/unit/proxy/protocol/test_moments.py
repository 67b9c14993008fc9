# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When things happened."""

from __future__ import annotations

from relocate_proxy.protocol.moments import Moments


def test_spans_between_moments() -> None:
    """One that has no end has no length."""
    moments = Moments()
    moments.mark("begin")
    moments.mark("frozen")
    length = moments.span("begin", "frozen")
    assert length is not None and length >= 0
    assert moments.span("begin", "dumped") is None
