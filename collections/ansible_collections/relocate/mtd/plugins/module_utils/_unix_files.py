# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unix sockets that are bound to a path, and the file that the kernel has for each.

The address of such a socket is what its program once said, and stays so. The file is what others come by, and it may have been
renamed since, by itself or with its directory; something else may have its name. Which file it is, only the kernel knows
(SIOCUNIXFILE of Linux 4.10); ``/proc/net/unix`` has the address. Standard library only, Python 3.9.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
from typing import Collection, List, Set, Tuple

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel
from ansible_collections.relocate.mtd.plugins.module_utils._criu import unescape

SIOCUNIXFILE = 0x89E0
DELETED = " (deleted)"
_TRIES = 5  # a file may be renamed just when it is looked at
_libc = ctypes.CDLL(None, use_errno=True)


class Lost(LookupError):
    """A file has a name, and that does not lead to it: something was mounted above it, or it was unmounted."""


def address_of(sock: socket.socket) -> bytes:
    """Return the path that a unix socket is bound to, as its program has said it; nothing if it is not bound to one."""
    address = sock.getsockname() if sock.family == socket.AF_UNIX else ""
    return os.fsencode(address) if isinstance(address, str) else b""


def file_of(sock: socket.socket) -> int:
    """Return a descriptor (O_PATH) of the file of a bound unix socket; it may have no name any more.

    :raises OSError: it has none, or we may not know (CAP_NET_ADMIN).
    """
    found = _libc.ioctl(sock.fileno(), ctypes.c_ulong(SIOCUNIXFILE))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"SIOCUNIXFILE: {os.strerror(number)}")
    os.set_inheritable(found, False)
    return int(found)


def opened(root: str, path: str) -> int:
    """Return a descriptor of the directory that an absolute path lies in, below a root. No link is followed.

    :raises OSError: there is none.
    """
    at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in path.strip("/").split("/")[:-1]:
        try:
            if name in ("", ".", ".."):
                raise OSError(errno.EINVAL, "a path that is not plain")
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def is_at(identity: Tuple[int, int], root: str, path: str) -> bool:
    """Return whether a file is what lies at an absolute path below a root. :param identity: its device and inode."""
    try:
        directory = opened(root, path)
    except OSError:
        return False
    try:
        there = os.stat(os.path.basename(path), dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    finally:
        os.close(directory)
    return (there.st_dev, there.st_ino) == identity


def path_of(file: int, root: str) -> str:
    """Return where the file of a socket is by now, below a root; nothing if the name that it was made by is gone.

    It may have another name then, by a hard link: its status tells. :raises Lost: its name does not lead to it.
    """
    for _ in range(_TRIES):
        path, status = os.readlink(f"/proc/self/fd/{file}"), os.fstat(file)
        if is_at((status.st_dev, status.st_ino), root, path):
            return path
        if path.endswith(DELETED):
            return ""
    raise Lost(path)


def mount_point(file: int, mountinfo: str) -> str:
    """Return the mount point that a descriptor's file is below. :param mountinfo: what the container's says."""
    told = re.search(r"^mnt_id:\s*(\d+)", _kernel.read_text(f"/proc/self/fdinfo/{file}"), re.MULTILINE)
    for line in _kernel.lines(mountinfo):
        fields = line.split(" ")
        if told and len(fields) > 4 and fields[0] == told.group(1):
            return unescape(fields[4])
    return ""


def bound_inodes(table: str) -> Set[str]:
    """Return the inodes of the sockets in a ``/proc/net/unix`` that are bound to a path."""
    found = set()
    for line in _kernel.lines(table)[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and not fields[7].startswith("@"):
            found.add(fields[6])
    return found


def is_connection(sock: socket.socket) -> bool:
    """Return whether a socket has a peer of its own, so that nobody else comes to it by its file."""
    if sock.type == socket.SOCK_DGRAM or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def plain(address: bytes) -> str:
    """Return an address as it may be shown."""
    return re.sub(r"[^\w.:+/@-]", "?", address.decode(errors="replace"), flags=re.ASCII)


def problems(sock: socket.socket, root: str, binds: Collection[str]) -> List[str]:
    """Return why a socket that is bound to a path cannot be carried: clauses, each with what to do.

    :param root: the container's root. :param binds: where directories of the host are mounted in it.
    """
    address = address_of(sock)
    if not address:
        return []
    try:
        file = file_of(sock)
    except OSError:
        return []  # it has just been closed
    try:
        point = mount_point(file, _kernel.read_text(f"{os.path.dirname(root)}/mountinfo")) if binds else ""
        path_of(file, root)
    except Lost:
        if is_connection(sock):  # nobody comes to it by its file
            return []
        return [
            f"has a unix socket bound to {plain(address)}, whose file cannot be reached any more, because something was "
            "mounted above it or it was unmounted: bind the socket anew"
        ]
    finally:
        os.close(file)
    if point in binds:
        return [
            f"has a unix socket bound to {plain(address)}, in a directory of the host ({plain(os.fsencode(point))}): those "
            "who come by its file would not find it on another host: bind it elsewhere"
        ]
    return []
