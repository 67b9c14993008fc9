# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of unix sockets that are bound to a path: read of the frozen original, put right before its copy runs.

CRIU binds a copy's socket to the address of the original's. That makes a file where the address says, and whoever comes by the
original's file comes to nobody if that has been renamed since. CRIU gives a connection no address at all, and of a file it
knows owner and mode. So the source tells of each socket its address and its file. Those that CRIU would bind to another file
than the original's, the image has under a name that we choose (``memory.unix_images``); and here, every file gets the name that
it had, and what else it had.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _unix_files

from . import syscalls

LONGEST = 108  # bytes of an address, <linux/un.h>
MOST, MOST_BYTES = 4096, 64 << 20  # sockets that another host may name, and what it may say of them
MOST_NAMES = 64
TOKEN = b".relocate-socket-"  # and a number: as restore_shim.c has it
ROOM = ".relocate-binding"  # as there: a directory that is there while a socket is bound
DEVICES = "/dev"  # a tmpfs of every container, that can be written to: for files that are removed at once
#: What stands in a description; ``straight``, ``connection``, ``file`` and ``inode`` are the source's own business.
TOLD = ("pid", "fd", "address", "path", "names", "mode", "uid", "gid", "mtime_ns", "xattrs", "parents")
#: Extended attributes of a file that the file system, or the host's security module, gives it.
OF_ONE_HOST = ("trusted.overlay.", "security.selinux", "security.SMACK64", "security.ima", "security.evm")
_XATTR = re.compile(r"[\x21-\x7e]{1,255}")
_BYTES = re.compile(r"([0-9a-f]{2}){0,65536}")


class Misplaced(RuntimeError):
    """A socket of the copy cannot be made what the original's was, and the message says which."""


def description(sock: socket.socket, root: str) -> dict[str, Any] | None:
    """Return what is told of a socket: its address, the path of its file ("" if its name is gone), owner, mode and the like.

    Beside :data:`TOLD` there is whether an absolute address leads to the file (``straight``), whether the socket has a peer of
    its own (``connection``), and device, inode and number of names of the file. None: it is not bound to a path.

    :raises _unix_files.Lost: its file cannot be reached, and it is no connection.
    """
    address = _unix_files.address_of(sock)
    if not address:
        return None
    file, connection = _unix_files.file_of(sock), _unix_files.is_connection(sock)
    try:
        status = os.fstat(file)
        try:
            path, names = _unix_files.path_of(file, root), status.st_nlink
        except _unix_files.Lost:
            if not connection:
                raise
            path, names = "", 0
        return {
            "address": os.fsdecode(address),
            "path": path,
            "names": [],
            "straight": bool(path) and _leads(root, address, status),
            "connection": connection,
            "file": [status.st_dev, status.st_ino, names],
            "mode": stat.S_IMODE(status.st_mode),
            "uid": status.st_uid,
            "gid": status.st_gid,
            "mtime_ns": status.st_mtime_ns,
            "parents": _times_of_parents(root, [path] if path else []),
            "xattrs": _attributes(file),
        }
    finally:
        os.close(file)


def _leads(root: str, address: bytes, status: os.stat_result) -> bool:
    """Return whether an absolute address leads to a file, as CRIU would follow it; of a relative one the image tells."""
    if not address.startswith(b"/"):
        return False
    try:
        found = syscalls.open_in_root(root, address, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        there = os.fstat(found)
    finally:
        os.close(found)
    return (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino)


def _times_of_parents(root: str, paths: Iterable[str]) -> dict[str, int]:
    """Return when the directories that paths lie in were changed last: what is made in them changes that."""
    found = {}
    for path in (*paths, f"{DEVICES}/x"):
        with _parent(root, path) as (directory, _):
            found[os.path.dirname(path)] = os.fstat(directory).st_mtime_ns
    return found


def _attributes(file: int) -> dict[str, str]:
    path = f"/proc/self/fd/{file}"
    names = [name for name in os.listxattr(path) if not name.startswith(OF_ONE_HOST)]
    return {name: os.getxattr(path, name).hex() for name in names}


def settle_shared(told: Iterable[dict[str, Any]]) -> None:
    """Have each file told of one socket only: a connection shares that of the socket that took it, and has none itself."""
    owners: set[tuple[int, int]] = set()
    for each in sorted(told, key=lambda each: each["connection"]):
        identity = (each["file"][0], each["file"][1])
        if identity in owners:
            each["path"], each["file"] = "", [*identity, 0]
        owners.add(identity)


def nameless(told: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those whose files have other names than the known one, by hard links."""
    return [each for each in told if each["file"][2] > bool(each["path"])]


def name(each: dict[str, Any], found: Collection[str], root: str) -> None:
    """Give a socket's file the names that were found of its inode: one for its path, if that is gone, and the others.

    :raises LookupError: there are more than were found.
    """
    count = each["file"][2]
    identity = each["file"][0], each["file"][1]
    names = [path for path in found if path != each["path"] and _unix_files.is_at(identity, root, path)]
    if not each["path"] and names:
        each["path"] = names.pop(0)
    each["names"] = names
    each["parents"] = _times_of_parents(root, [each["path"], *names] if each["path"] else [])
    if len(names) + bool(each["path"]) != count:
        raise LookupError(
            f"the file of the unix socket that is bound to {_unix_files.plain(os.fsencode(each['address']))} has more names "
            "than were found (hard links): remove them, and try again"
        )


# -- the destination's half ----------------------------------------------------------------------------------------------


def read(data: bytes) -> list[dict[str, Any]]:
    """Return what another host has told. :raises ValueError: it is nothing of the kind, or more than there can be."""
    try:
        told = json.loads(data) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, list) or not all(map(_is_description, told)):
        raise ValueError(
            "what the source says of the container's unix sockets cannot be read: run prepare.yml there again"
        )
    return told


def _is_description(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    names, attributes, parents = (value.get(each) for each in ("names", "xattrs", "parents"))
    return (
        all(_is_number(value.get(each), 31) for each in ("pid", "fd"))
        and all(_is_number(value.get(each), 32) for each in ("uid", "gid"))
        and _is_number(value.get("mode"), 12)
        and _is_time(value.get("mtime_ns"))
        and _is_text(value.get("address"), LONGEST)
        and value["address"] != ""
        and (value.get("path") == "" or _is_path(value.get("path")))
        and isinstance(names, list)
        and len(names) <= MOST_NAMES
        and all(map(_is_path, names))
        and isinstance(parents, dict)
        and all((each == "/" or _is_path(each)) and _is_time(when) for each, when in parents.items())
        and isinstance(attributes, dict)
        and all(
            _XATTR.fullmatch(each) and isinstance(content, str) and _BYTES.fullmatch(content)
            for each, content in attributes.items()
        )
    )


def _is_number(value: Any, bits: int) -> bool:
    return type(value) is int and 0 <= value < 1 << bits


def _is_time(value: Any) -> bool:
    return type(value) is int and -(1 << 62) < value < 1 << 62


def _is_text(value: Any, longest: int) -> bool:
    """Return whether a value is what ``os.fsdecode`` has made of some bytes without NUL."""
    try:
        return isinstance(value, str) and len(os.fsencode(value)) <= longest and "\0" not in value
    except UnicodeEncodeError:
        return False


def _is_path(value: Any) -> bool:
    return _is_text(value, 4095) and value.startswith("/") and not {"", ".", ".."} & set(value[1:].split("/"))


def settle(told: list[dict[str, Any]], tasks: Mapping[int, int], root: str) -> None:
    """Give the unix sockets of a copy, which does not run, the addresses and files that they had.

    :param told: what :func:`read` has let pass. :param tasks: the copy's processes by their numbers inside it.
    :param root: the copy's root.
    :raises Misplaced: one cannot be given what it had.
    """
    parents: dict[str, int] = {}
    for each in told:
        try:
            if each["pid"] not in tasks:
                raise LookupError("its process is missing")
            with _borrowed(tasks[each["pid"]], each["fd"]) as sock:
                _settle(each, sock, root)
        except (OSError, LookupError) as error:
            address = _unix_files.plain(os.fsencode(each["address"]))
            raise Misplaced(
                f"the unix socket bound to {address} cannot be given its file on this host: {error}"
            ) from error
        parents.update(each["parents"])
    for directory, changed_ns in parents.items():
        fd = _unix_files.opened(root, f"{directory.rstrip('/')}/x")
        try:
            os.utime(f"/proc/self/fd/{fd}", ns=(changed_ns, changed_ns))
        finally:
            os.close(fd)


@contextlib.contextmanager
def _borrowed(pid: int, fd: int) -> Iterator[socket.socket]:
    process = os.pidfd_open(pid)
    try:
        with socket.socket(fileno=syscalls.pidfd_getfd(process, fd)) as sock:
            yield sock
    finally:
        os.close(process)


@contextlib.contextmanager
def _parent(root: str, path: str) -> Iterator[tuple[int, str]]:
    """Return a descriptor of the directory that a path lies in, and the name in it."""
    directory = _unix_files.opened(root, path)
    try:
        yield directory, os.path.basename(path)
    finally:
        os.close(directory)


def _settle(each: dict[str, Any], sock: socket.socket, root: str) -> None:
    wanted, has = os.fsencode(each["address"]), _unix_files.address_of(sock)
    if not has:
        with _parent(root, each["path"] or f"{DEVICES}/x") as (directory, _):
            bind(sock, wanted, directory, each["path"] != "")
    elif has != wanted:
        raise LookupError(f"it is bound to {_unix_files.plain(has)} there")
    if not each["path"]:
        return
    file = _unix_files.file_of(sock)
    try:
        if has and _unix_files.is_connection(sock) and not _unix_files.path_of(file, root):
            return  # it was made with its address; who listened is gone, and the file that is left came with the others
        _rename(file, each["path"], root)
        for other in each["names"]:
            _link(each["path"], other, root)
        _dress(file, each)
    finally:
        os.close(file)


def _rename(file: int, path: str, root: str) -> None:
    """Give the file of a socket its name, in the place of a dead one that was copied."""
    if (now := _unix_files.path_of(file, root)) == path:
        return
    if not now:
        raise LookupError("its file has no name there")
    with _parent(root, now) as (old, old_name), _parent(root, path) as (new, new_name):
        os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)
    status = os.fstat(file)
    if not _unix_files.is_at((status.st_dev, status.st_ino), root, path):
        raise LookupError("its file was renamed while we looked")


def _link(path: str, other: str, root: str) -> None:
    with _parent(root, path) as (old, old_name), _parent(root, other) as (new, new_name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new_name, dir_fd=new)
        os.link(old_name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)


def _dress(file: int, each: dict[str, Any]) -> None:
    """Give a file owner, extended attributes (with them its ACL), mode and time: in this order."""
    again = f"/proc/self/fd/{file}"
    os.chown(again, each["uid"], each["gid"])
    has = _attributes(file)
    for key, value in each["xattrs"].items():
        if has.pop(key, None) != value:
            os.setxattr(again, key, bytes.fromhex(value))
    for key in has:
        os.removexattr(again, key)
    os.chmod(again, each["mode"])
    os.utime(again, ns=(each["mtime_ns"], each["mtime_ns"]))


def bind(sock: socket.socket, address: bytes, directory: int, keep: bool) -> None:
    """Bind a socket to any address, and have its file in a directory: under the name ``TOKEN`` if it is to be kept.

    The kernel takes the address as it is and makes the file where that leads. So it is made in a room of its own: a new
    directory that is the root meanwhile.

    :raises OSError: it could not be done.
    """
    outcome: list[BaseException] = []

    def enter() -> None:
        try:
            syscalls.unshare_root()  # this thread's alone
            _bind_in_room(sock, address, directory, keep)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if outcome:
        raise outcome[0]


def _bind_in_room(sock: socket.socket, address: bytes, directory: int, keep: bool) -> None:
    os.mkdir(ROOM, 0o700, dir_fd=directory)
    try:
        room = os.open(ROOM, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.fchdir(room)
        finally:
            os.close(room)
        os.chroot(".")
        made = []
        for place in range(1, len(address)):
            if address[place : place + 1] == b"/":
                with contextlib.suppress(FileExistsError):
                    os.mkdir(address[:place], 0o700)
                    made.append(address[:place])
        try:
            syscalls.bind_unix(sock.fileno(), address)
            if keep:
                os.rename(address, TOKEN + b"own", dst_dir_fd=directory)
            else:
                os.unlink(address)
        finally:
            for each in reversed(made):
                os.rmdir(each)
    finally:
        os.rmdir(ROOM, dir_fd=directory)
