# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a host of the lab well? Answered from outside, through /proc, without running anything inside it."""

from __future__ import annotations

import os
import socket

LISTEN = "0A"  # state of a listening socket in /proc/net/tcp


def listens(pid: int, port: int) -> bool:
    """Tell whether something listens on a TCP port in the network namespace of a process."""
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}") as handle:
                rows = [line.split() for line in handle][1:]
        except OSError:
            continue  # the process is gone, or the kernel has no IPv6
        if any(row[3] == LISTEN and int(row[1].rpartition(":")[2], 16) == port for row in rows):
            return True
    return False


def docker_answers(pid: int, timeout: float = 20.0) -> bool:
    """Tell whether dockerd answers a ping on its socket in the mount namespace of a process.

    A host whose dockerd does not is started anew, with all that runs there; on a busy machine an answer may take seconds. One
    that has ended refuses at once.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(f"/proc/{pid}/root/run/docker.sock")
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            with connection.makefile("rb") as answer:
                return b"200 OK" in answer.readline(64)
    except OSError:
        return False


def ailments(pid: int, docker: bool) -> list[str]:
    """Return what is wrong with a host whose first process is ``pid`` (0: not running); nothing if it is well."""
    if not pid or not os.path.exists(f"/proc/{pid}"):
        return ["not running"]
    wrong = []
    if not listens(pid, 22):
        wrong.append("sshd does not listen")
    if docker and not docker_answers(pid):
        wrong.append("dockerd does not answer")
    return wrong
