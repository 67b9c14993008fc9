# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that the command turns into one sentence and an exit status."""

from __future__ import annotations


class Refusal(Exception):
    """Something was refused or failed, and the message says what, why and what to do about it.

    ``status`` is the process's exit status: 1 refused or failed, 2 wrong usage.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        # It may repeat a name or a path that somebody else has chosen: nothing in it moves the terminal.
        super().__init__("".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in message))
        self.status = status
