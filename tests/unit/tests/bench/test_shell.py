# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench's open shells: what is printed, what fails, and what a script leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cutover.shell import CommandFailed, Shell


@pytest.fixture
def shell() -> Iterator[Shell]:
    opened = Shell("here", ["sh"])
    yield opened
    opened.close()


def test_it_returns_what_was_printed_on_either_stream(shell: Shell) -> None:
    assert shell("echo out; echo err >&2; printf 'no end of line'") == "out\nerr\nno end of line"
    assert shell("true") == ""


def test_a_script_that_fails_says_so_and_the_shell_goes_on(shell: Shell) -> None:
    with pytest.raises(CommandFailed, match="on here, 'echo why; exit 3' ended with 3: why"):
        shell("echo why; exit 3")
    assert shell("exit 3", check=False) == ""
    assert shell("echo still here") == "still here"


def test_scripts_share_nothing_and_read_nothing_of_each_other(shell: Shell) -> None:
    shell("cd /; left=over")
    assert shell("cat; echo ${left:-nothing}") == "nothing"


def test_a_shell_that_is_gone_is_an_error(shell: Shell) -> None:
    shell._process.kill()
    shell._process.wait()
    with pytest.raises(CommandFailed, match="the shell on here is gone"):
        shell("true")
