# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie on a host. Everything under ``RUN`` is in tmpfs and private to root: it holds memory images and keys."""

from __future__ import annotations

import os

RUN = "/run/relocate"
EXPECTED = f"{RUN}/expected"  # one marker a container ID: its start is a restore
GATES = f"{RUN}/gates"  # one unix socket a container ID: its keeper
EMPTY = f"{RUN}/empty"  # an empty read-only tmpfs, put where the runtime hides directories
SESSIONS = f"{RUN}/sessions"
INSTALLED = "/usr/local/lib/relocate"
RESTORE_SHIM = f"{INSTALLED}/restore_shim.so"
RUNTIME_NAME = "relocate"


def private_directory(path: str) -> str:
    """Make ``path`` with mode 0700, parents included, and return it."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def session(relocation: str) -> str:
    """Return the private directory of one relocation on this host."""
    return f"{SESSIONS}/{relocation}"


def gate(container_id: str) -> str:
    """Return the socket of a container's keeper. Its length stays below the 107 bytes a unix address may have."""
    return f"{GATES}/{container_id[:24]}.sock"


def verdict(container_id: str) -> str:
    """Return the socket on which a restoring criu asks for the verdict."""
    return f"{GATES}/{container_id[:24]}.verdict"


def marker(container_id: str) -> str:
    """Return the file whose presence turns the container's next start into a restore."""
    return f"{EXPECTED}/{container_id}"
