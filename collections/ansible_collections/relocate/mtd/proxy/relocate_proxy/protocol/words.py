# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences that repeat what somebody else has written: of one line, printable, and no longer than anybody reads."""

from __future__ import annotations

SHOWN, LONGEST = 60, 4000  # characters of a value, and of a sentence


def shown(value: object) -> str:
    """Return a value for a sentence, in quotes if it is text."""
    text = ascii(value) if isinstance(value, (str, int, float, type(None))) else f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def sentence(error: object) -> str:
    """Return what an error says, or what it is called if it says nothing. It may name files of a container."""
    text = str(error) or ("it gave no reason" if isinstance(error, str) else type(error).__name__)
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:LONGEST])
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
