# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the proxy keeps things on a host: what the modules know of, and what only the parts of a relocation need."""

from __future__ import annotations

import contextlib
import os

from ansible_collections.relocate.mtd.plugins.module_utils import _paths as shared

RUN = shared.RUN
EXPECTED = shared.EXPECTED  # one marker a container ID: its start is a restore
GATES = f"{RUN}/gates"  # one unix socket a container ID: its keeper
EMPTY = f"{RUN}/empty"  # an empty read-only tmpfs, put where the runtime hides directories
PARTS = shared.PARTS
SESSIONS = shared.SESSIONS
JOURNALS = shared.JOURNALS
EDGE_TABLE = f"{shared.EDGE}/table.nft"  # loaded at boot
RESTORE_SHIM = shared.RESTORE_SHIM
RUNTIME_NAME = "relocate"
TASKS = "relocate-tasks.json"  # among the images: what ``tasks`` describes
SOCKETS = "relocate-sockets.json"  # what ``unix_sockets`` tells
PEERS = "relocate-peers"  # whom unix sockets are to name; restore_shim.c reads it
NAMED = "relocate-peers.json"  # what ``unix_peers`` tells
ADDRESSES = "relocate-addresses"  # of unix sockets; restore_shim.c reads it


def private_directory(path: str) -> str:
    """Make ``path`` with mode 0700, parents included, and return it."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        private_directory(parent)  # os.makedirs gives its mode to the last one alone
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    return path


def session(relocation: str) -> str:
    """Return the private directory of one relocation on this host."""
    return f"{SESSIONS}/{relocation}"


def result(relocation: str) -> str:
    """Return where the edge leaves the result for the controller to fetch."""
    return f"{RUN}/results/{relocation}.json"


def progress(relocation: str) -> str:
    """Return where the edge leaves how a drain goes, until there is a result."""
    return f"{RUN}/results/{relocation}.progress"


def log(relocation: str, part: str) -> str:
    """Return where a part's process writes what it has to say."""
    return f"{JOURNALS}/{relocation}.{part}.log"


def open_log(relocation: str, part: str) -> int:
    """Return a descriptor that writes to the end of that file, which is made if it is not there."""
    path = log(relocation, part)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def gate(container_id: str) -> str:
    """Return the socket of a container's keeper. Its length stays below the 107 bytes a unix address may have."""
    return f"{GATES}/{container_id[:24]}.sock"


def verdict(container_id: str) -> str:
    """Return the socket on which a restoring criu asks for the verdict."""
    return f"{GATES}/{container_id[:24]}.verdict"


def marker(container_id: str) -> str:
    """Return the file whose presence turns the container's next start into a restore."""
    return f"{EXPECTED}/{container_id}"
