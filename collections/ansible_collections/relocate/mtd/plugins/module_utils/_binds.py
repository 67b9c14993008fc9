# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bind mounts of a container travel, and which keep it where it is. Standard library only, Python 3.9.

A bind mount shows a container a piece of its host. No host takes another's word for what that may be: each has a policy of its
own, the file ``_paths.BINDS`` that ``prepare.yml`` writes from ``relocate_binds``. There are two rules:

- ``same``: a file or directory that every host has, read-only, such as ``/etc/localtime``. Its contents are compared.
- ``shared``: a directory of a file system that every host has mounted. That it is the same one is seen by a probe in it.

Whatever no rule names stays, and its container with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.relocate.mtd.plugins.module_utils import _paths
from ansible_collections.relocate.mtd.plugins.module_utils._volumes import clean

SAME, SHARED = "same", "shared"
#: Files that hosts have alike, and containers are often shown.
USUAL = (
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    "/etc/ssl/certs",
    "/etc/pki",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
)
#: Words of ``-v SOURCE:POINT:…`` that mean the same on every host; the other propagations make mounts appear on one host alone.
WORDS = ("", "ro", "rw", "z", "Z", "private", "rprivate", "cached", "delegated", "consistent")
PRIVATE = ("", "private", "rprivate")
#: What is compared of a directory at most: each host reads it for every plan.
MOST_ENTRIES, MOST_BYTES = 20_000, 64 << 20


class TooLarge(ValueError):
    """A directory has more in it than is compared."""


class Policy(NamedTuple):
    """Which paths of a host may be shown to containers that come from another.

    :ivar same, shared: by which rule; each path with what lies below it. :ivar problem: why nothing may.
    """

    same: Tuple[str, ...] = USUAL
    shared: Tuple[str, ...] = ()
    problem: str = ""

    def rule(self, source: str, read_only: bool) -> Optional[str]:
        """Return the rule for a path of the host, or None."""
        if source != clean(source):
            return None
        if read_only and _below(source, self.same):
            return SAME
        return SHARED if _below(source, self.shared) else None


class Bind(NamedTuple):
    """One bind mount, as it is asked for."""

    source: str
    point: str
    read_only: bool
    odd: str = ""  # an option that it must not have


def _below(path: str, tops: Tuple[str, ...]) -> bool:
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)


def policy(path: str = _paths.BINDS) -> Policy:
    """Return this host's policy; without a file the usual one."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        tops = {name: tuple(found.get(name, usual)) for name, usual in ((SAME, USUAL), (SHARED, ()))}
        if not all(isinstance(top, str) and top.startswith("/") for top in tops[SAME] + tops[SHARED]):
            raise ValueError("a path in it is not absolute")
    except FileNotFoundError:
        return Policy()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return Policy((), (), f"{path} cannot be read ({error})")
    return Policy(tops[SAME], tops[SHARED])


def asked(host: Mapping[str, Any]) -> List[Bind]:
    """Return the bind mounts that a ``HostConfig`` asks for. :raises ValueError: an entry of it is none of Docker's."""
    found = []
    for text in host.get("Binds") or []:
        if not isinstance(text, str):
            raise ValueError("Binds")
        words = text.split(":")
        if not words[0].startswith("/"):  # a volume's name
            continue
        options = (words[2] if len(words) > 2 else "").split(",")
        odd = ",".join(sorted(set(options) - set(WORDS)))
        if len(words) not in (2, 3) or not words[1].startswith("/"):
            raise ValueError("Binds")
        found.append(Bind(clean(words[0]), clean(words[1]), "ro" in options, odd))
    for each in host.get("Mounts") or []:
        if not isinstance(each, dict):
            raise ValueError("Mounts")
        if each.get("Type") == "bind":
            found.append(_of_mount(each))
    return found


def _of_mount(mount: Dict[str, Any]) -> Bind:
    source, point, options = mount.get("Source"), mount.get("Target"), mount.get("BindOptions") or {}
    if not isinstance(source, str) or not isinstance(point, str) or not isinstance(options, dict):
        raise ValueError("Mounts")
    if not source.startswith("/") or not point.startswith("/"):
        raise ValueError("Mounts")
    known = {"Propagation", "NonRecursive", "CreateMountpoint", "ReadOnlyNonRecursive", "ReadOnlyForceRecursive"}
    odd = [str(options["Propagation"])] if options.get("Propagation") not in (None, *PRIVATE) else []
    odd += [f"{name}" for name in sorted(set(options) - known) if options[name]]
    odd += ["VolumeOptions"] if mount.get("VolumeOptions") else []
    return Bind(clean(source), clean(point), mount.get("ReadOnly") is True, ",".join(odd))


def digest(path: str) -> str:
    """Return a digest of a file, or of the names, kinds and contents in a directory: the same wherever they are the same.

    :raises TooLarge: it has too many; :raises OSError: it cannot be read.
    """
    found, room = hashlib.sha256(), [MOST_ENTRIES, MOST_BYTES]
    if not stat.S_ISDIR(os.stat(path).st_mode):
        _add(found, path, room)
        return found.hexdigest()
    for place, directories, names in os.walk(path):
        directories.sort()
        links = [name for name in directories if os.path.islink(os.path.join(place, name))]
        for name in sorted([*names, *directories]):
            room[0] -= 1
            if room[0] < 0:
                raise TooLarge(f"it has more than {MOST_ENTRIES} entries")
            full = os.path.join(place, name)
            mode = os.lstat(full).st_mode
            found.update(os.fsencode(os.path.relpath(full, path)) + b"\0%o\0" % stat.S_IFMT(mode))
            if stat.S_ISLNK(mode) or name in links:
                found.update(os.fsencode(os.readlink(full)) + b"\0")
            elif stat.S_ISREG(mode):
                _add(found, full, room)
    return found.hexdigest()


def _add(found: Any, path: str, room: List[int]) -> None:
    contents = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            data = file.read(1 << 20)
            contents.update(data)
            room[1] -= len(data)
            if room[1] < 0:
                raise TooLarge(f"it has more than {MOST_BYTES >> 20} MiB")
            if not data:
                break
    found.update(contents.digest())


def _tell(bind: Bind, mine: Policy) -> Dict[str, Any]:
    """Return what another host needs to judge a bind mount. :raises OSError, TooLarge: it cannot be compared."""
    rule = mine.rule(bind.source, bind.read_only)
    if rule == SAME:
        return {"source": bind.source, "point": bind.point, "rule": rule, "digest": digest(bind.source)}
    return {"source": bind.source, "point": bind.point, "rule": rule, "inode": os.stat(bind.source).st_ino}


def describe(inspected: Mapping[str, Any], mine: Policy) -> Tuple[List[Dict[str, Any]], List[str]]:
    """Return a container's bind mounts, for the other hosts, and why they keep it here.

    :param inspected: ``docker inspect``. :param mine: the policy of this host.
    """
    container, described, found = inspected["Name"].lstrip("/"), [], []
    try:
        binds = asked(inspected["HostConfig"])
    except ValueError as error:
        return [], [f"the container {container} has {error} that cannot be read: use a volume"]
    for bind in binds:
        what = f"the bind mount of {bind.source} at {bind.point}"
        problem = _problem(bind, what, container, mine)
        if problem:
            found.append(problem)
            continue
        try:
            described.append(_tell(bind, mine))
        except (OSError, TooLarge) as error:
            found.append(f"{what} of the container {container} cannot be compared with another host's: {error}")
    return described, found


def _problem(bind: Bind, what: str, container: str, mine: Policy) -> str:
    """Return why a bind mount keeps its container here, or nothing."""
    try:
        mode = os.stat(bind.source).st_mode
    except OSError:
        return f"{what} of the container {container} shows what is not there any more: restart the container"
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        return (
            f"{what} gives the container {container} a socket, pipe or device of this host, which cannot follow it: run it "
            "without"
        )
    if bind.odd:
        return f"{what} of the container {container} has the option {bind.odd}: only private ones are carried"
    rule = mine.rule(bind.source, bind.read_only)
    if mine.problem:
        return f"{what} keeps the container {container} here, because {mine.problem}: run prepare.yml"
    if rule is None:
        writes = not bind.read_only and mine.rule(bind.source, True) == SAME
        remedy = "mount it read-only" if writes else "use a volume, or name it in relocate_binds and run prepare.yml"
        return f"{what} of the container {container} is not carried: {remedy}"
    real = os.path.realpath(bind.source)
    if rule == SHARED and real != bind.source:
        return f"{what} of the container {container} leads through a symbolic link: mount {real}"
    if rule == SHARED and not stat.S_ISDIR(mode):
        return f"{what} gives the container {container} a single file of a shared directory: mount the directory"
    return ""


def refusals(name: str, binds: List[Dict[str, Any]], mine: Policy) -> List[str]:
    """Return why this host cannot show a container what the other one does.

    :param name: of this host, for the sentences. :param binds: what :func:`describe` returned there. :param mine: its policy.
    """
    found = []
    for each in binds:
        source, rule = each["source"], each["rule"]
        if mine.rule(source, rule == SAME) != rule:
            why = f" ({mine.problem})" if mine.problem else ""
            found.append(
                f"{name} does not show {source} to containers{why}: name it in relocate_binds ({rule}) and run prepare.yml"
            )
            continue
        try:
            here = digest(source) if rule == SAME else os.stat(source).st_ino
        except (OSError, TooLarge):
            found.append(f"{name} has no {source} that a container could be shown: install or mount it there")
            continue
        if rule == SAME and here != each.get("digest"):
            found.append(f"{source} on {name} is not what the container was shown: make it the same on all hosts")
        elif rule == SHARED and (here != each.get("inode") or os.path.realpath(source) != source):
            found.append(f"{source} on {name} is another directory: mount the same file system on both hosts")
    return found
