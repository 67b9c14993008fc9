# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the kernel's own text files, in which strangers choose names.

Any process may call itself, its cgroup, a mount point or a file what it likes: bytes that are no UTF-8, a carriage return, a
character that Python takes for the end of a line. The kernel escapes the line feed and, in some files, the blank; nothing else.
So nothing else ends a line or a word here, and no name is an error. Standard library only, Python 3.9.
"""

from __future__ import annotations

import re


def read_text(path: str) -> str:
    """Return what a file of ``/proc`` or ``/sys`` says; bytes that are no UTF-8 become halves of surrogate pairs.

    :raises OSError: there is no such file, or what it is about has ended.
    """
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")


def plain(name: str) -> str:
    """Return a name that a stranger has chosen with nothing in it but what every terminal and every sentence bears."""
    return re.sub(r"[^\w.:+/-]", "?", name, flags=re.ASCII)


def lines(text: str) -> list[str]:
    """Return the lines of such a text, without their ends."""
    return text.rstrip("\n").split("\n") if text.strip("\n") else []
