# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""System calls that Python 3.9 does not offer: namespaces, interface flags, a process with a chosen pid."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

CLONE_NEWNET = 0x40000000
CLONE_FS = 0x200
CLONE_PARENT = 0x8000
SYS_CLONE3 = 435
SYS_PIDFD_GETFD = 438
SYS_OPENAT2, RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 437, 0x02, 0x10  # <linux/openat2.h>
PR_SET_PDEATHSIG = 1
CAP_IPC_LOCK = 14
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1

_libc = ctypes.CDLL(None, use_errno=True)
#: The same, called without giving the interpreter's lock away: see stand_in.
_libc_locked = ctypes.PyDLL(None, use_errno=True)
_T = TypeVar("_T")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data``: the kernel may take less at once. :raises OSError: when the file system is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def syncfs(fd: int) -> None:
    """Write everything of the file system of a descriptor to its disk. :raises OSError: the disk would not take it."""
    _checked(_libc.syncfs(fd), "syncfs")


def wait_for(fd: int, events: int, seconds: float) -> bool:
    """Wait until one of poll(2)'s ``events`` befalls a descriptor; return whether it has. select(2) knows none beyond 1023.

    :raises ValueError: the descriptor is closed.
    """
    waiting = select.poll()
    waiting.register(fd, events)
    found = waiting.poll(seconds * 1e3)
    if found and found[0][1] & select.POLLNVAL:
        raise ValueError("the descriptor is closed")
    return bool(found)


def stay_in_memory() -> bool:
    """Have nothing of this process swapped out, now or later; return whether that is so. A child has to ask for itself.

    Without the capability nothing is asked for: under a limit (RLIMIT_MEMLOCK) the process would get no more memory later.
    """
    with open("/proc/self/status", encoding="utf-8") as file:
        may = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return bool(may >> CAP_IPC_LOCK & 1) and _libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0


def unshare_network() -> None:
    """Give the calling process a network namespace of its own."""
    _checked(_libc.unshare(CLONE_NEWNET), "unshare")


def unshare_root() -> None:
    """Give the calling thread a root and a working directory of its own."""
    _checked(_libc.unshare(CLONE_FS), "unshare")


def open_in_root(root: str, path: bytes, flags: int) -> int:
    """Open a path as a process whose root is ``root`` would, wherever symbolic links lead. :raises OSError: as for it."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("=3Q", flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        return _checked(_libc.syscall(ctypes.c_long(SYS_OPENAT2), top, path, how, len(how)), os.fsdecode(path))
    finally:
        os.close(top)


def bind_unix(fd: int, address: bytes) -> None:
    """Bind a unix socket to a path; Python would not take one of all the 108 bytes. :raises OSError: as for it."""
    name = struct.pack(f"=H{len(address)}s", socket.AF_UNIX, address)
    _checked(_libc.bind(fd, name, len(name)), "bind")


def in_network(namespace: str, work: Callable[[], _T]) -> _T:
    """Run ``work`` in the network namespace at a path (``/proc/PID/ns/net``) and return what it returns.

    A namespace belongs to a thread, so a thread is made for it and thrown away: no other code ever runs in it.
    """
    outcome: list = []

    def enter() -> None:
        try:
            fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _checked(_libc.setns(fd, CLONE_NEWNET), f"setns {namespace}")
            finally:
                os.close(fd)
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def links_down() -> None:
    """Take every interface but loopback down, in the calling thread's network namespace. No packet leaves it after this."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _, name in socket.if_nameindex():
            if name == "lo":
                continue
            request = struct.pack("16sh14x", name.encode(), 0)
            flags = struct.unpack_from("16xh", fcntl.ioctl(control, SIOCGIFFLAGS, request))[0]
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), flags & ~IFF_UP))


def stand_in(pid: int, seconds: float = 0.15) -> None:
    """Put a short-lived process with host pid ``pid`` beside us, as a child of our parent.

    For a container whose restore failed after its placeholder was reaped: the containerd shim waits for that pid to exit,
    for ever if it never does. (``clone3`` with CLONE_PARENT and set_tid.)

    :raises OSError: EEXIST when the pid is taken.
    """
    if platform.machine() not in ("x86_64", "aarch64"):
        raise OSError("stand_in knows clone3 on x86_64 and aarch64 only")
    wanted = ctypes.c_int(pid)
    arguments = struct.pack("=11Q", CLONE_PARENT, 0, 0, 0, 0, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    # The child has this one thread: had we given the interpreter's lock away, another thread might have it, for ever.
    child = _libc_locked.syscall(ctypes.c_long(SYS_CLONE3), buffer, ctypes.c_long(len(arguments)))
    if child == 0:  # in the child: no Python code may be trusted to work here
        _libc_locked.usleep(int(seconds * 1e6))
        _libc_locked._exit(1)
    _checked(child, f"clone3 with pid {pid}")


def pidfd_getfd(process: int, fd: int) -> int:
    """Return a duplicate of another process's descriptor. :raises OSError: one of the two is gone, or we may not trace it.

    :param process: a descriptor from ``os.pidfd_open``.
    """
    found = _libc.syscall(ctypes.c_long(SYS_PIDFD_GETFD), ctypes.c_int(process), ctypes.c_int(fd), ctypes.c_uint(0))
    return _checked(found, "pidfd_getfd")


def die_quietly_on(*signals: int) -> None:
    """Restore the default action of signals that Python turns into exceptions."""
    for number in signals:
        signal.signal(number, signal.SIG_DFL)


def die_with(parent: int) -> None:
    """Have the calling process killed when its parent ends, which must be ``parent``: else it has ended already."""
    _checked(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
