# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The placeholder H: a sleeping process in a new network namespace, whose pid the restored init will have."""

from __future__ import annotations

import os
import signal
import sys

from ..host import syscalls
from ..host.cgroups import join_cgroups

SYSCTLS = "/proc/sys"


def start_holder(cgroups_path: str, sysctls: dict[str, str]) -> int:
    """Start H and return its pid when it has its namespace and its cgroups.

    :param sysctls: ``linux.sysctl`` of the bundle. runc's init would write them, and a restore never runs it. Those of the
        network belong to the namespace that is made here; the others are in CRIU's image.
    :raises OSError: it could not be made, or the kernel refuses a setting.
    """
    ready_read, ready_write = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        os.close(ready_write)
        ready = os.read(ready_read, 1)
        os.close(ready_read)
        if ready != b"r":
            os.waitpid(pid, 0)
            raise OSError("the placeholder could not be made; the reason is in the keeper's log")
        return pid
    try:
        syscalls.die_with(keeper)  # in no control group of the container, it would outlive both for good
        syscalls.unshare_network()
        _write_network(sysctls)
        join_cgroups(cgroups_path)
        syscalls.die_quietly_on(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        os.write(ready_write, b"r")
        os.closerange(0, 1024)
        while True:
            signal.pause()
    except BaseException as error:
        print(f"placeholder: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def _write_network(sysctls: dict[str, str]) -> None:
    """Write the settings of the network namespace that this process is in."""
    for name, value in sysctls.items():
        # a name has dots where the path has slashes; one that has slashes may have dots in an interface's name
        path = name if "/" in name else name.replace(".", "/")
        if path.startswith("net/") and ".." not in path.split("/"):
            with open(f"{SYSCTLS}/{path}", "w", encoding="ascii") as file:
                file.write(value)
