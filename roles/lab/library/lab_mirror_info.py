#!/usr/bin/python
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian mirror and keyring that this machine's own package sources name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_mirror_info
short_description: Tell the machine's Debian mirror and keyring
description:
  - Reads the machine's apt sources, one-line and deb822, and returns the first Debian archive they name.
  - Nothing is fetched. C(mirror+file) sources are followed to the first mirror of their list.
options:
  sources:
    description: Files to read, in this order. Default is apt's own order.
    type: list
    elements: path
author: [the relocate project]
"""

EXAMPLES = r"""
- name: Find the Debian mirror
  lab_mirror_info:
  register: lab_mirror_found
"""

RETURN = r"""
uri:
  description: Address of the archive, without a trailing slash; empty where the sources name no Debian archive.
  returned: always
  type: str
keyring:
  description: Keyring that the source is signed by, or Debian's own keyring.
  returned: always
  type: str
"""

import glob
import os
import re
from typing import Iterator, NamedTuple

from ansible.module_utils.basic import AnsibleModule

DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Debian's suites, current and to come; derivatives name theirs differently, and their archive has no trixie.
SUITES = re.compile(r"^(buster|bullseye|bookworm|trixie|forky|duke|sid|(old)*stable|testing|unstable)$")


class Source(NamedTuple):
    """One archive: its address, its suites, and the keyring file that signs it (empty: not said)."""

    uri: str
    suites: list[str]
    keyring: str


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the enabled binary sources of a ``.sources`` file."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and last:
                fields[last] += " " + line.strip()
            elif ":" in line:
                last, _, value = line.partition(":")
                last = last.strip().lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        signed_by = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            yield Source(uri, fields.get("suites", "").split(), signed_by if signed_by.startswith("/") else "")


def parse_one_line(text: str) -> Iterator[Source]:
    """Yield the binary sources of a one-line ``.list`` file."""
    for line in text.splitlines():
        match = re.match(r"^\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)", line)
        if match:
            signed_by = re.search(r"signed-by=(/\S+)", match.group("options") or "")
            yield Source(match.group("uri"), [match.group("suite")], signed_by.group(1) if signed_by else "")


def choose(sources: list[Source]) -> Source | None:
    """Return the first source that is a Debian archive (security and backports archives are not whole ones)."""
    for source in sources:
        if source.uri.startswith(("http", "mirror+", "file:", "copy:")) and any(SUITES.match(s) for s in source.suites):
            return source
    return None


def resolve(uri: str) -> str:
    """Return the address itself, or the first one of a ``mirror+file:`` list."""
    if not uri.startswith("mirror+file:"):
        return uri.rstrip("/")
    with open("/" + uri[len("mirror+file:") :].lstrip("/")) as mirrors:
        for line in mirrors:
            words = line.split("#")[0].split()
            if words:
                return words[0].rstrip("/")
    return ""


def default_files() -> list[str]:
    """Return apt's source files in apt's order."""
    parts = sorted(glob.glob("/etc/apt/sources.list.d/*.list") + glob.glob("/etc/apt/sources.list.d/*.sources"))
    return [path for path in ["/etc/apt/sources.list", *parts] if os.path.exists(path)]


def main() -> None:
    """Answer with the mirror and the keyring."""
    module = AnsibleModule(
        argument_spec={"sources": {"type": "list", "elements": "path"}},
        supports_check_mode=True,
    )
    found: list[Source] = []
    for path in module.params["sources"] or default_files():
        with open(path) as handle:
            text = handle.read()
        found.extend(parse_deb822(text) if path.endswith(".sources") else parse_one_line(text))
    chosen = choose(found)
    module.exit_json(
        changed=False,
        uri=resolve(chosen.uri) if chosen else "",
        keyring=(chosen.keyring if chosen and chosen.keyring else DEBIAN_KEYRING),
    )


if __name__ == "__main__":
    main()
