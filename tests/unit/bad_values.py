# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong for nearly everything that can be set: the values that each option, key and variable is tried with."""

from __future__ import annotations

from typing import Any

TEXTS: list[Any] = [
    "", " ", "x", "-", "--", "\n", "\t", "\0", "\x1b[31m", "\u202e", "\ud800", "é" * 300, "x" * 100_000, "9" * 5000, "1e400",
    "nan", "inf", "-1", "0", "1:30", "030", "2026-13-45", "9999-12-31", "{{ lookup('pipe', 'id') }}", "{% for x in y %}",
    "$(id)", "../../etc/passwd", "/dev/zero", "%s%n", "null", "true", "[", "'", '"', "\\", "😀", "sqlite:", "http://[",
]  # fmt: skip
NUMBERS: list[Any] = [
    0, -1, 1, 2**31, 2**63 - 1, 2**63, 10**400, 0.5, -0.0, 1e-300, 1e-12, 1e15, 1e300, -1e300, 0.999999999,
]  # fmt: skip
OTHERS: list[Any] = [
    None, True, False, [], {}, [[]], [None], {"": 1}, {"a": {"b": []}}, [1, "x", None], [[[[[1]]]]], {"kind": []},
]  # fmt: skip
