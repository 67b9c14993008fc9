# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only /proc tells of a container's programs: what they use that cannot be carried, and what a destination must have.

Looked at before a move is begun, so that nothing is frozen for it in vain. A program may begin to use such a thing a moment
later: then CRIU refuses, or the comparison before the commit does, and the move is rolled back. Standard library only,
Python 3.9.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import socket
from typing import Any, Collection, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from ansible_collections.relocate.mtd.plugins.module_utils import (
    _areas,
    _binds,
    _kernel,
    _own_network,
    _shielded_tcp,
    _spawning,
    _unix_files,
)
from ansible_collections.relocate.mtd.plugins.module_utils._criu import GHOST_LIMIT, parse_mountinfo
from ansible_collections.relocate.mtd.plugins.module_utils._docker import addresses
from ansible_collections.relocate.mtd.plugins.module_utils._preflight import LINK_NAME, network_options

PROC = "/proc"
#: Nameless files that CRIU carries; every other is refused.
CARRIED = ("eventfd", "eventpoll", "signalfd", "timerfd", "inotify", "pidfd")
#: What the others are called by people.
NAMES = {
    "io_uring": "io_uring",
    "perf_event": "performance counters (perf_event_open)",
    "fanotify": "fanotify",
    "userfaultfd": "userfaultfd",
}
NAMESPACES = {
    "mnt": "mount",
    "uts": "host name",
    "ipc": "IPC",
    "user": "user",
    "pid": "process",
    "cgroup": "control group",
    "net": "network",
    "time": "time",
}
PROTOCOLS = {
    132: "SCTP",
    262: "MPTCP (of a Go program: start it with GODEBUG=multipathtcp=0)",
}
FAMILIES = {38: "AF_ALG", 40: "vsock", 44: "AF_XDP", 15: "AF_KEY", 29: "CAN", 30: "TIPC", 31: "Bluetooth"}
TABLES = (
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "udplite",
    "udplite6",
    "raw",
    "raw6",
    "icmp",
    "icmp6",
    "unix",
    "netlink",
    "packet",
)
IPPROTO_CARRIED = (0, 1, 6, 17, 58, 136)
REMOTE = re.compile(r"(fuse|nfs|cifs|smb|9p|ceph|virtiofs)")
#: Groups that the kernel joins by itself: all hosts, all nodes, and those of the host's own addresses.
USUAL_GROUPS = re.compile(r"(01|02|6A)0000E0|ff0[125]0{27}[12]|ff020{26}6a|ff020{19}1ff[0-9a-f]{6}")
_SYS_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


def _text(path: str) -> str:
    try:
        return _kernel.read_text(path)
    except OSError:
        return ""


def _entries(directory: str) -> List[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _status(pid: int) -> Dict[str, str]:
    parts = (line.partition(":") for line in _kernel.lines(_text(f"{PROC}/{pid}/status")))
    return {name: value.strip() for name, _colon, value in parts}


def _called(pid: int, status: Dict[str, str]) -> str:
    """Return what to call a process: its number inside, and its name, as far as that is plain."""
    name = _kernel.plain(status.get("Name", "?"))
    return f"process {status.get('NSpid', str(pid)).split()[-1]} ({name})"


def program_refusals(pids: Iterable[int], init: int, binds: Collection[str] = ()) -> List[str]:
    """Return what the programs of a container use that cannot be carried: clauses, each with who uses it and what to do.

    :param pids: its processes. :param init: the one that all namespaces are compared with.
    :param binds: where directories of the host are mounted in it.
    """
    pids = list(pids)
    found = [
        f"{_called(parent, _status(parent))} waits for a child that has not begun its program (vfork, posix_spawn): "
        "try again when it has, or end it"
        for parent in _spawning.lasting(pids).values()
    ]
    leases = _lease_holders()
    known: Optional[Set[str]] = None
    bound = _unix_files.bound_inodes(_text(f"{PROC}/{init}/net/unix"))
    for pid in pids:
        status = _status(pid)
        if not status:
            continue
        who = _called(pid, status)
        if status.get("State", "").startswith("Z"):
            if int(status.get("Threads", "1")) > 1:
                found.append(
                    f"{who} goes on in threads whose first has ended, which CRIU takes for an ended process: end it"
                )
            continue
        if status.get("TracerPid", "0") != "0":
            found.append(f"{who} is being traced (by strace, a debugger, …): end the tracer")
        if pid in leases:
            found.append(f"{who} holds a lease on a file (fcntl, F_SETLEASE): have it given up")
        for name, what in NAMESPACES.items():
            theirs = _link(f"{PROC}/{pid}/ns/{name}")
            if theirs and theirs != _link(f"{PROC}/{init}/ns/{name}"):
                found.append(f"{who} is in a {what} namespace that was made inside the container: end it")
        for number, link in _descriptors(pid):
            if link.startswith("anon_inode:"):
                kind = link.partition(":")[2].strip("[]")
                if kind not in CARRIED:
                    found.append(f"{who} uses {NAMES.get(kind, kind)}: end it, or start it without")
            elif link.endswith(" (deleted)"):
                found += _ghost(who, pid, number)
            elif link.startswith("socket:["):
                known = _known_sockets(init) if known is None else known
                if link[8:-1] not in known:
                    found += _strange_socket(who, pid, number, init)
                elif link[8:-1] in bound:
                    bound.remove(link[8:-1])
                    found += _bound_socket(who, pid, number, f"{PROC}/{init}/root", binds)
    return list(dict.fromkeys(found))


def _descriptors(pid: int) -> Iterator[Tuple[int, str]]:
    for number in _entries(f"{PROC}/{pid}/fd"):
        yield int(number), _link(f"{PROC}/{pid}/fd/{number}")


def _lease_holders() -> Set[int]:
    fields = (line.replace("->", "").split() for line in _kernel.lines(_text(f"{PROC}/locks")))
    return {int(each[4]) for each in fields if len(each) > 4 and each[1] == "LEASE" and each[4].isdigit()}


def _ghost(who: str, pid: int, number: int) -> List[str]:
    try:
        status = os.stat(f"{PROC}/{pid}/fd/{number}")
    except OSError:
        return []
    used = status.st_blocks * 512
    if status.st_nlink or used <= GHOST_LIMIT:
        return []
    return [
        f"{who} holds a deleted file of {used >> 20} MiB open, and {GHOST_LIMIT >> 20} MiB can be carried: have it closed"
    ]


def _known_sockets(pid: int) -> Set[str]:
    """Return the inodes of the sockets of a network namespace whose kind the kernel's tables tell.

    Those of TCP do not where there is MPTCP: its sockets are listed among them.
    """
    places = {"unix": 6, "netlink": 9, "packet": 8}
    found = set()
    protocols = (line.split() for line in _kernel.lines(_text(f"{PROC}/{pid}/net/protocols"))[1:])
    multipath = any(each[0].startswith("MPTCP") and each[2] != "0" for each in protocols if len(each) > 2)
    for table in TABLES:
        if multipath and table.startswith("tcp"):
            continue
        for line in _kernel.lines(_text(f"{PROC}/{pid}/net/{table}"))[1:]:
            fields = line.split()
            place = places.get(table, 9)
            if len(fields) > place:
                found.add(fields[place])
    return found


def _borrowed(pid: int, number: int) -> Optional[socket.socket]:
    """Return a duplicate of a process's socket, or None if it is gone, or we may not have it."""
    try:
        process = os.pidfd_open(pid)  # type: ignore[attr-defined,unused-ignore]
    except (OSError, AttributeError):
        return None
    try:
        copy = _libc.syscall(ctypes.c_long(_SYS_PIDFD_GETFD), process, number, 0)
    finally:
        os.close(process)
    try:
        return socket.socket(fileno=copy) if copy >= 0 else None
    except OSError:  # another file has its number by now
        os.close(copy)
        return None


def _bound_socket(who: str, pid: int, number: int, root: str, binds: Collection[str]) -> List[str]:
    """Say why the file of a unix socket that is bound to a path cannot be carried."""
    found = _borrowed(pid, number)
    if found is None:
        return []
    with found:
        return [f"{who} {problem}" for problem in _unix_files.problems(found, root, binds)]


def _strange_socket(who: str, pid: int, number: int, init: int) -> List[str]:
    """Say what a socket is that is in none of the kernel's tables: it is not bound yet, or of a kind that is not carried.

    A unix socket is listed in any case, but that of a connection in the network of whoever has connected.
    """
    found = _borrowed(pid, number)
    if found is None:
        return []
    with found:
        family, protocol = int(found.family), int(found.proto)
        inode = str(os.fstat(found.fileno()).st_ino)
    if family == socket.AF_UNIX and inode not in _known_sockets(init):  # nor is it there by now
        return [
            f"{who} is connected by a unix socket with a program outside of the container, and would be cut off: end that"
        ]
    if family in (socket.AF_INET, socket.AF_INET6) and protocol not in IPPROTO_CARRIED:
        return [
            f"{who} has a socket of {PROTOCOLS.get(protocol, f'protocol {protocol}')}, which cannot be carried: end it"
        ]
    if family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
        return [f"{who} has a socket of the family {FAMILIES.get(family, family)}, which cannot be carried: end it"]
    return []


def container_refusals(init: int, given: Collection[str], may_configure: bool, named: bool = False) -> List[str]:
    """Return what the container as a whole has that cannot be carried.

    :param given: the addresses that Docker has given it. :param may_configure: it may configure its network (CAP_NET_ADMIN).
    :param named: its links have the names that somebody has chosen (``driver-opt=com.docker.network.endpoint.ifname=…``).
    Rules are looked for in any case: those of a packet filter are often set from the host.
    """
    found = []
    queues = sorted(_entries(f"{PROC}/{init}/root/dev/mqueue"))
    if queues:
        found.append(
            f"it has POSIX message queues ({', '.join(map(_kernel.plain, queues[:3]))}), which CRIU does not carry: remove them"
        )
    try:
        mounts = parse_mountinfo(_text(f"{PROC}/{init}/mountinfo"))
    except ValueError:
        mounts = []
    for mount in mounts:
        if REMOTE.match(mount.fstype) and mount.point != "/":
            found.append(
                f"a file system of the kind {mount.fstype} is mounted in it at {_kernel.plain(mount.point)}: unmount it"
            )
    groups = _groups(init)
    if groups:
        found.append(
            f"it is a member of multicast groups ({', '.join(groups[:3])}), which would be forgotten: have it leave them"
        )
    found += [f"one of its programs {clause}" for clause in _shielded_tcp.shielded_tcp(init)]
    own = (_own_network.own_links(init, given) if may_configure else []) + _own_network.own_rules(init)
    if own:
        listed = ", ".join(own[:3])
        found.append(f"it has a network configuration of its own ({listed}), which would be lost: remove that")
    links = _own_network.dockers_links(init)
    anew = [f"eth{number}" for number in range(len(links))]
    if links != anew and not named:  # a program may have bound a socket to one of them
        found.append(
            f"its links are named {', '.join(links)}, as a network was disconnected from it while it ran, and another host "
            f"would name them {', '.join(anew)}: start it anew before (docker restart)"
        )
    return found


def _groups(pid: int) -> List[str]:
    """Return the multicast groups that programs have joined."""
    found = []
    for line in _kernel.lines(_text(f"{PROC}/{pid}/net/igmp"))[1:]:
        group = line.split()[0] if line.startswith("\t") else ""
        if group and not USUAL_GROUPS.fullmatch(group):
            found.append(".".join(str(int(group[i : i + 2], 16)) for i in (6, 4, 2, 0)))
    for line in _kernel.lines(_text(f"{PROC}/{pid}/net/igmp6")):
        fields = line.split()
        if len(fields) > 2 and not USUAL_GROUPS.fullmatch(fields[2]):
            found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[2])))
    return found


def capabilities(pid: int) -> int:
    """Return the capabilities that a process can have at most, as bits; 0 when it is gone."""
    return int(_status(pid).get("CapBnd", "0") or "0", 16)


def security_label(pid: int) -> str:
    """Return what a process is confined by: AppArmor's profile, SELinux' context; "" where it is not, or is gone."""
    label = _text(f"{PROC}/{pid}/attr/apparmor/current") or _text(f"{PROC}/{pid}/attr/current")
    name = re.sub(r" \([a-z]+\)$", "", label.strip("\0\n"))
    return "" if name == "unconfined" else name


def bound_processors(pids: Iterable[int]) -> List[int]:
    """Return the processors of threads that may not run on all of this host's; a cpuset of the container counts, too."""
    narrow: Set[int] = set()
    online = os.sched_getaffinity(0)
    for pid in pids:
        for tid in _entries(f"{PROC}/{pid}/task"):
            try:
                affinity = os.sched_getaffinity(int(tid))
            except OSError:
                continue
            if affinity < online:
                narrow |= affinity
    return sorted(narrow)


def forgotten_memory(pids: Iterable[int]) -> List[str]:
    """Return what programs have said of their memory that CRIU would forget: clauses, each with who has and what to do.

    This walks through all their memory, and takes as long as that is large.
    """
    return list(
        dict.fromkeys(
            f"{_called(pid, _status(pid))} {clause}"
            for pid in pids
            for clause in _areas.forgotten(_text(f"{PROC}/{pid}/smaps"))
        )
    )


def _shown(inspected: Dict[str, Any]) -> List[str]:
    """Return where directories of the host are mounted in a container."""
    try:
        return [each.point for each in _binds.asked(inspected["HostConfig"])]
    except ValueError:  # which keeps it here anyway
        return []


def survey(pids: Iterable[int], inspected: Dict[str, Any]) -> Dict[str, Any]:
    """Return what a running container needs, and its ``refusals``: whole sentences.

    It needs ``capabilities``, ``processors``, ``security_label``, and what :meth:`_areas.Spaces.needs` says.

    :param pids: its processes. :param inspected: ``docker inspect``.
    """
    tasks, init = list(pids), int(inspected["State"]["Pid"])
    name = inspected["Name"].lstrip("/")
    added = {str(each).upper() for each in inspected["HostConfig"].get("CapAdd") or []}
    may_configure = bool(added & {"NET_ADMIN", "CAP_NET_ADMIN", "ALL"})
    spaces = _areas.Spaces(tasks)
    named = LINK_NAME in network_options(inspected)
    clauses = program_refusals(tasks, init, _shown(inspected))
    clauses += container_refusals(init, addresses(inspected), may_configure, named)
    clauses += [f"{_called(pid, _status(pid))} {clause}" for pid, clause in spaces.problems()]
    return {
        "capabilities": capabilities(init),
        "processors": bound_processors(tasks),
        "security_label": security_label(init),
        **spaces.needs(platform.release()),
        "refusals": [f"the container {name} cannot be moved as it is: {clause}" for clause in clauses],
    }
