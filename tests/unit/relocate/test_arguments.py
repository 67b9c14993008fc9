# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and words of the command line: what looks like a template or moves a terminal never reaches Ansible."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from relocate import cli
from relocate.errors import Refusal


@pytest.mark.parametrize(
    "arguments",
    [
        ["move", "{{ lookup('pipe','touch /tmp/x') }}", "--check"],
        ["move", "a\nb"],
        ["move", "-"],
        ["move", "web", "--to", "{{ x }}"],
        ["move", "web", "--from", "a,b"],
        ["move", "web", "--reason", "{% x %}"],
        ["move", "web", "--reason", "\x1b[2J"],
        ["move", "web", "--reason", "x" * 201],
        ["move", "web", "--mode", "warp"],
        ["move", "web", "--downtime-limit", "nan"],
        ["pause", "--host", "{{ x }}"],
        ["pause", "--container", "x" * 300],
        ["resume", "--container", "web\n"],
        ["fleet", "--container", "{{ x }}"],
        ["fleet", "--from", "a/b"],
        ["history", "--container", "\x1b[2J"],
        ["simulate", "fig4", "--trials", "1000000000"],
    ],
)
def test_what_the_command_line_names_is_checked(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli.build(), arguments)
    assert isinstance(done.exception, Refusal), done.exception
    assert done.exception.status == 2
    assert "\n" not in str(done.exception) and "\x1b" not in str(done.exception)
