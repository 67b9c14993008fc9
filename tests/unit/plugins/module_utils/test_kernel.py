# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's text files: any bytes but a line feed may stand in a name, and none of them ends a line or a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _criu, _kernel
from hypothesis import given
from hypothesis import strategies as st

#: What the kernel does not escape in mountinfo, and Python takes for the end of a line or of a word.
NAMES = [
    "a\rb",
    "a\x1cb",
    "a\x0bb",
    "a\x85b",
    "a\u2028b",
    "a\u3000b",
    "a\xa0b",
    b"a\xffb".decode("utf-8", "surrogateescape"),
]


def line(point: str, source: str = "tmpfs") -> str:
    """Return a line of mountinfo as the kernel writes it."""
    for letter in "\\ \t\n":  # fs/proc_namespace.c, mangle
        point = point.replace(letter, f"\\{ord(letter):03o}")
    return f"36 35 0:31 / {point} rw,nosuid shared:1 - tmpfs {source} rw,size=4k\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_ends_no_line_and_no_word(name: str, tmp_path: Path) -> None:
    """Whoever may name a mount point must not keep every move off its host."""
    (tmp_path / "mountinfo").write_bytes(
        (line("/x") + line("/" + name) + line("/y")).encode("utf-8", "surrogateescape")
    )
    mounts = _criu.parse_mountinfo(_kernel.read_text(str(tmp_path / "mountinfo")))
    assert [mount.point for mount in mounts] == ["/x", "/" + name, "/y"]
    with pytest.raises(ValueError, match="cannot be carried"):
        _criu.refuse_unspeakable(["/" + name])


def test_a_file_system_may_have_no_source() -> None:
    """The kernel then writes two blanks."""
    assert _criu.parse_mountinfo(line("/x", source=""))[0][2:] == ("/x", "tmpfs", ("rw", "size=4k"), "")


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1), st.booleans())
def test_every_name_is_read_back(name: str, more: bool) -> None:
    text = line("/" + name) + line("/z") * more
    assert [mount.point for mount in _criu.parse_mountinfo(text)] == ["/" + name] + ["/z"] * more


@given(st.text())
def test_what_is_no_mountinfo_is_a_value_error(text: str) -> None:
    """And nothing else."""
    for read in (
        _criu.parse_mountinfo,
        lambda text: _criu.freezer(text, line("/x")),
        lambda text: _criu.freezer("0::/x\n", text),
    ):
        try:
            read(text)
        except ValueError:
            pass
