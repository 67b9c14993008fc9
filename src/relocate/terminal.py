# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign text on a terminal: of a host, a label, a task. It moves no cursor, begins no line, and is no markup of rich's."""

from __future__ import annotations

import json
from typing import Any

import typer
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown
from rich.markup import escape


def cell(text: Any) -> str:
    """Return foreign text for rich, which takes square brackets for styles; nothing for None."""
    return "" if text is None else escape(shown(text))


def paragraph(text: Any) -> str:
    """Return text of several lines, which may repeat foreign words, for a terminal: its line ends stay."""
    return "\n".join(shown(line) for line in str(text).split("\n"))


def print_result(result: dict[str, Any]) -> None:
    """Print what an action has returned as one JSON document, without what is Ansible's own."""
    public = {name: value for name, value in result.items() if not name.startswith("_ansible")}
    typer.echo(json.dumps(public, indent=2))
