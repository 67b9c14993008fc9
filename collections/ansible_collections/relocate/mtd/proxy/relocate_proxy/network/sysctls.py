# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a container's network (``net.*`` of sysctl), whoever made them: the copy gets what the original has.

Docker writes what ``--sysctl`` names, and some of its own. A new network takes others from its host, and a host may be tuned;
and root there can set each of them while the container runs. What is read-only in the container's network belongs to the host
(``ensure_safe_net_sysctl`` of the kernel), and a setting that one of two kernels does not have belongs to that kernel.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

from ..host import syscalls

ROOT = "/proc/sys"
#: Those of a link that Docker makes for each place: what it can carry is that place's.
OF_THE_LINK = re.compile(r"net/ipv6/conf/[^/]+/mtu")
NAME = re.compile(r"net(/[\w@.:-]+)+")
MOST, LONGEST = 20000, 1024  # what another host may name: settings, and characters of one
PASSES = 3  # one setting can set others anew: forwarding does


def read(namespace: str) -> dict[str, str]:
    """Return the settings of a network that can be set, by their paths below /proc/sys. :param namespace: /proc/PID/ns/net."""
    return syscalls.in_network(namespace, _read)


def give(namespace: str, settings: Mapping[str, str]) -> list[str]:
    """Give a network settings; return the names of those that it has, and that its kernel would not set so.

    :param settings: what :func:`is_sysctls` has let pass.
    """
    return syscalls.in_network(namespace, lambda: _give(settings))


def is_sysctls(value: Any) -> bool:
    """Return whether another host's word has the form of what :func:`read` returns."""
    return (
        isinstance(value, dict)
        and len(value) <= MOST
        and all(NAME.fullmatch(name) and "/../" not in f"{name}/" for name in value)
        and all(map(_is_value, value.values()))
    )


def _is_value(value: Any) -> bool:
    return (
        isinstance(value, str) and len(value) <= LONGEST and value.isascii() and value.replace("\t", " ").isprintable()
    )


def _read() -> dict[str, str]:
    found = {}
    for directory, _, names in os.walk(f"{ROOT}/net"):
        for path in (f"{directory}/{name}" for name in names):
            with contextlib.suppress(OSError, ValueError):  # a secret that is not set; a link that has just gone
                name = os.path.relpath(path, ROOT)
                if os.stat(path).st_mode & stat.S_IWUSR and not OF_THE_LINK.fullmatch(name):
                    with open(path, encoding="ascii") as file:
                        value = file.read().rstrip("\n")
                    if NAME.fullmatch(name) and _is_value(value):
                        found[name] = value
    return found


def _give(settings: Mapping[str, str]) -> list[str]:
    for _ in range(PASSES):
        differing = _differing(settings)
        for name in differing:
            with contextlib.suppress(OSError), open(f"{ROOT}/{name}", "w", encoding="ascii") as file:
                file.write(settings[name])
        if not differing:
            return []
    return _differing(settings)


def _differing(settings: Mapping[str, str]) -> list[str]:
    """Return the names of settings that the network has otherwise: those for all links first, for they set the others."""
    has = _read()
    found = [name for name, value in has.items() if settings.get(name, value) != value]
    return sorted(found, key=lambda name: ("/all/" not in name, "/default/" not in name, name))
