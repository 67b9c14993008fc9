# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services S of a host: packages with versions, running services, images; parsers of what the host's tools print."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._profile.system import read

#: Package managers: (name, the database that tells it is in use, its command).
PACKAGE_MANAGERS = (
    (
        "dpkg",
        "var/lib/dpkg/status",
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\\t${binary:Package}\\t${Version}\\n"],
    ),
    ("apk", "lib/apk/db/installed", ["apk", "info", "-v"]),
    ("apk", "usr/lib/apk/db/installed", ["apk", "info", "-v"]),
    ("rpm", "var/lib/rpm", ["rpm", "-qa", "--qf", "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\\n"]),
    ("rpm", "usr/lib/sysimage/rpm", ["rpm", "-qa", "--qf", "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\\n"]),
)

_APK = re.compile(r"^(?P<name>.+?)-(?P<version>\d[^-]*-r\d+)$")
#: Started per container: as many as there are tenants, not a service of the host.
_PER_CONTAINER = ("containerd-shim", "docker-proxy", "runc", "conmon")
#: The name of an interpreter does not say what runs in it.
_INTERPRETERS = ("python", "perl", "ruby", "node", "sh", "bash", "dash", "busybox")


def package_manager(root: str) -> tuple[str, list[str]] | None:
    """Return (name, command) of the host's package manager, or None."""
    for name, database, command in PACKAGE_MANAGERS:
        if os.path.exists(os.path.join(root, database)):
            return name, command
    return None


def packages(manager: str, output: str) -> dict[str, str]:
    """Return installed packages and versions from a package manager's output, sorted by name.

    Several installed versions of one package (kernels) are joined by a comma.
    """
    found: dict[str, set[str]] = {}
    for line in output.splitlines():
        if manager == "apk":
            match = _APK.match(line.strip())
            if match:
                found.setdefault(match.group("name"), set()).add(match.group("version"))
            continue
        fields = line.split("\t")
        if manager == "dpkg":
            # "ii ", "hi ": the second letter is the state; removed packages with configuration files left are not there
            if len(fields) != 3 or fields[0][1:2] != "i":
                continue
            fields = fields[1:]
        if len(fields) == 2 and fields[0] != "gpg-pubkey":
            version = fields[1][2:] if fields[1].startswith("0:") else fields[1]
            found.setdefault(fields[0], set()).add(version)
    return {name: ",".join(sorted(versions)) for name, versions in sorted(found.items())}


def systemd_services(output: str) -> list[str]:
    """Return running services from ``systemctl list-units --output=json``; instances and per-run units are dropped."""
    units = [str(unit.get("unit", "")) for unit in json.loads(output)]
    names = {re.sub(r"\.service$", "", unit).partition("@")[0] for unit in units}
    return sorted(name for name in names if name and not re.match(r"(run-|docker-|session-)", name))


def openrc_services(root: str) -> list[str] | None:
    """Return started OpenRC services, or None where OpenRC does not run."""
    path = os.path.join(root, "run/openrc/started")
    return sorted(os.listdir(path)) if os.path.isdir(path) else None


def daemons(root: str) -> list[str]:
    """Return the names of daemons by /proc: children of the first process that have no terminal."""
    found: set[str] = set()
    base = os.path.join(root, "proc")
    for entry in os.listdir(base):
        text = read(base, entry + "/stat") if entry.isdigit() else None
        if text is None:
            continue
        # the name stands in parentheses and may hold anything: "(sd-pam)", "(a b) c)"
        name = text[text.index("(") + 1 : text.rindex(")")]
        _state, parent, _group, _session, terminal = text[text.rindex(")") + 2 :].split()[:5]
        if parent == "1" and terminal == "0" and not _ignored(name):
            found.add(name)
    return sorted(found)


def _ignored(name: str) -> bool:
    # the kernel cuts names to 15 characters: containerd-shim-runc-v2 is containerd-shim
    bare = re.sub(r"[\d.]+$", "", name)
    return name.startswith(_PER_CONTAINER) or bare in _INTERPRETERS


def images(answer: list[dict[str, Any]]) -> list[str]:
    """Return images as ``name:tag@digest`` from the Docker API's answer to GET /images/json.

    The digest (twelve digits) is the registry's, the same on every host; an image that never met a registry has none.
    """
    found: set[str] = set()
    for image in answer:
        digests = [digest.rpartition("@") for digest in image.get("RepoDigests") or []]
        of_repository = {name: digest.partition(":")[2][:12] for name, _at, digest in digests if name != "<none>"}
        for tag in image.get("RepoTags") or []:
            if tag != "<none>:<none>":
                digest = of_repository.get(tag.rpartition(":")[0])
                found.add(f"{tag}@{digest}" if digest else tag)
    return sorted(found)
