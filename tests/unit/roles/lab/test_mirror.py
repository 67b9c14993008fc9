# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the machine's own Debian mirror in its package sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from relocate.lab.status import role_code

mirror = role_code("lab_mirror_info", "library")

DEB822 = """\
Types: deb
# a snapshot of some day
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


def chosen(*files: tuple[str, str]) -> tuple[str, str] | None:
    """Return the address and keyring chosen from files of (name, text)."""
    found = []
    for name, text in files:
        found += list(mirror.parse_deb822(text) if name.endswith(".sources") else mirror.parse_one_line(text))
    source = mirror.choose(found)
    return (source.uri, source.keyring) if source else None


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "debian.sources",
            DEB822,
            ("http://mirror.example/debian", "/usr/share/keyrings/debian-archive-keyring.gpg"),
        ),
        ("x.list", "deb http://m.example/debian trixie main\n", ("http://m.example/debian", "")),
        (
            "x.list",
            "# deb http://no.example/debian trixie main\ndeb-src http://no.example/debian trixie main\n"
            "deb [arch=amd64 signed-by=/k.gpg] https://m.example/debian/ trixie main contrib\n",
            ("https://m.example/debian/", "/k.gpg"),
        ),
        # a vendor's archive, another distribution, security alone: none is a Debian archive
        ("x.list", "deb https://vendor.example/apt stable-tools main\n", None),
        ("x.list", "deb http://m.example/ubuntu noble main\n", None),
        ("x.list", "deb http://m.example/debian-security trixie-security main\n", None),
        ("x.sources", "Types: deb\nEnabled: no\nURIs: http://m.example/debian\nSuites: trixie\n", None),
        ("x.sources", "Types: deb-src\nURIs: http://m.example/debian\nSuites: trixie\n", None),
        # values over several lines, and a key given in place (which is no file)
        (
            "x.sources",
            "Types: deb deb-src\nURIs:\n  http://m.example/debian\nSuites:\n  trixie\n  trixie-updates\n"
            "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n",
            ("http://m.example/debian", ""),
        ),
        ("x.sources", "", None),
    ],
)
def test_the_first_debian_archive_is_chosen(name: str, text: str, expected: tuple[str, str] | None) -> None:
    assert chosen((name, text)) == expected


def test_a_list_of_mirrors_is_followed_to_its_first(tmp_path: Path) -> None:
    (tmp_path / "mirrors").write_text(
        "# near ones\n\nhttp://near.example/debian/\tpriority:1\nhttp://far.example/debian\n"
    )
    assert mirror.resolve(f"mirror+file://{tmp_path}/mirrors") == "http://near.example/debian"


def test_a_plain_address_loses_only_its_slash() -> None:
    assert mirror.resolve("http://m.example/debian/") == "http://m.example/debian"
