# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line may name. Names and words of people reach Ansible, which would run what looks like a template."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._modes import ASKABLE, ASKABLE_STRATEGIES, PREFERENCES
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import strangers

from relocate.errors import Refusal
from relocate.reading import shown

WORDS = 200
PICTURES = (".png", ".svg", ".pdf")
FILE_NAME = 250  # bytes of one part of a path
PATH = 4095
LONGEST_DRAIN = 86400  # seconds


def checked_name(what: str, text: str) -> str:
    """Return a container's or host's name. Raises Refusal with status 2 for what no container and no host can be called."""
    if not strangers.is_container_name(text):
        raise Refusal(
            f"{what} is {shown(text)}: a name has letters, digits, dots, hyphens and underscores, 253 at most, and begins with "
            "a letter or digit",
            2,
        )
    return text


def checked_words(what: str, text: str) -> str:
    """Return free text for records. Raises Refusal with status 2 for text that is long, not printable, or a template."""
    if len(text) > WORDS or not text.isprintable() or strangers.TEMPLATE.search(text):
        raise Refusal(
            f"{what} is {shown(text)}: give {WORDS} printable characters at most, and none of {{{{, {{% and {{#", 2
        )
    return text


def checked_path(option: str, path: Path | None, suffixes: Collection[str] = ()) -> None:
    """Check a path before anything is done with it. Raises Refusal with status 2 for one that no file can have."""
    if path is None:
        return
    text = str(path)
    odd = not text.isprintable() or strangers.TEMPLATE.search(text)
    if odd or any(len(os.fsencode(part)) > FILE_NAME for part in path.parts):
        raise Refusal(f"{option} is {shown(text)}: give a name of printable characters that a file can have", 2)
    if suffixes and path.suffix.lower() not in suffixes:
        raise Refusal(f"{option} is {shown(text)}: its name must end in one of {', '.join(sorted(suffixes))}", 2)


def checked_directory(what: str, text: str | None) -> str | None:
    """Return the absolute path of a directory that is named, or None. Raises Refusal with status 2 for what is no path."""
    if text is None:
        return None
    checked_path(what, Path(text))
    if not text or len(os.fsencode(text)) > PATH:
        raise Refusal(f"{what} is {shown(text)}: give the path of a directory", 2)
    return str(Path(text).resolve())


def checked_wishes(
    container: str,
    *,
    to: str | None,
    source: str | None,
    mode: str,
    prefer: str | None,
    strategy: str | None,
    downtime_limit: float | None,
    drain_limit: float | None = None,
) -> dict[str, Any]:
    """Return what ``move`` and ``check`` are asked for, as the keywords that :mod:`relocate.move.relocation` takes of both.

    Raises Refusal with status 2 for what no move can be.
    """
    if downtime_limit is not None and not (math.isfinite(downtime_limit) and downtime_limit > 0):
        raise Refusal(f"--downtime-limit is {downtime_limit:g}: it must be a number of milliseconds above 0", status=2)
    if drain_limit is not None and not 0 <= drain_limit <= LONGEST_DRAIN:
        raise Refusal(f"--drain-limit is {drain_limit:g}: it must be 0 to {LONGEST_DRAIN} seconds", status=2)
    if strategy is not None and strategy not in ASKABLE_STRATEGIES:
        raise Refusal(f"--strategy is {shown(strategy)}: use one of {', '.join(ASKABLE_STRATEGIES)}", status=2)
    if prefer is not None and prefer not in PREFERENCES:
        raise Refusal(f"--prefer is {shown(prefer)}: use one of {', '.join(PREFERENCES)}", status=2)
    if mode not in ASKABLE:
        raise Refusal(f"--mode is {shown(mode)}: use one of {', '.join(ASKABLE)}", status=2)
    checked_name("the container", container)
    if to is not None:
        checked_name("--to", to)
    if source is not None:
        checked_name("--from", source)
    return {
        "destination": to,
        "source": source,
        "mode": mode,
        "prefer": prefer,
        "strategy": strategy,
        "downtime_limit_ms": downtime_limit,
    }
