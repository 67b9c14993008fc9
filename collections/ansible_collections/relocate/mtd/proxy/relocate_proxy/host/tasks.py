# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel keeps of each task beside its memory: read of the frozen original, set and compared before its copy runs.

CRIU does not carry the processors that a thread may run on, nor the priority of its input and output, nor how late its timers
may be, nor some options of its sockets (``socket_options``): those are set here. What CRIU does carry, or is denied by this
host without a word (a limit that may not be raised), is compared, so that a difference ends in a rollback and not in a copy
that is not the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel

from . import socket_options
from .cgroups import control_directory

PROC = "/proc"
ONLINE = "/sys/devices/system/cpu/online"
#: Lines of /proc/PID/status that must be the same.
COMPARED = (
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "Threads",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
)
TIMER_SLACK = "timerslack_ns"
USUAL_SLACK = ("50000", "0")  # 0: of a real-time task, which has none
CORE_FILTER = "coredump_filter"
OOM = "oom_score_adj"
_IOPRIO = {"x86_64": (252, 251), "aarch64": (31, 30)}.get(platform.machine())  # system calls: get, set
MOST_BYTES, MOST_PROCESSORS = 16 << 20, 1 << 16
_NUMBER, _HEX = re.compile("-?[0-9]{1,20}"), re.compile("(0x)?[0-9a-fA-F]{1,16}")
_OF_PROCESS = 1  # IOPRIO_WHO_PROCESS

_libc = ctypes.CDLL(None, use_errno=True)


class Different(RuntimeError):
    """The copy is not as the original was, and the message says in what. A process may be called anything."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(each if each.isprintable() else ascii(each)[1:-1] for each in message[:1000]))


def _read(path: str) -> str:
    return _kernel.read_text(path).encode(errors="replace").decode()


def _status(pid: int) -> dict[str, str]:
    lines = (line.partition(":") for line in _kernel.lines(_read(f"{PROC}/{pid}/status")))
    return {name: " ".join(value.split()) for name, _, value in lines}


def _limits(pid: int) -> list[list[str]]:
    """Return soft and hard limit of each resource, in the order of their numbers."""
    return [line[25:].split()[:2] for line in _kernel.lines(_read(f"{PROC}/{pid}/limits"))[1:]]


def inner(status: dict[str, str]) -> int:
    """Return the number of a task inside the container."""
    return int(status["NSpid"].split()[-1])


def processors(text: str) -> set[int]:
    """Return the processors of a list such as ``0-2,7``."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def allowed_processors(pid: int) -> set[int]:
    """Return the processors that a process may run on unless it has said otherwise: those of its control group."""
    for controller, version in (("cpuset", 1), ("", 2)):
        directory = control_directory(pid, controller, version)
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus") if directory else ():
            with contextlib.suppress(OSError):
                found = processors(_read(f"{directory}/{name}"))
                if found:
                    return found
    return processors(_read(ONLINE))


def _ioprio(tid: int) -> int:
    return int(_libc.syscall(ctypes.c_long(_IOPRIO[0]), _OF_PROCESS, tid)) if _IOPRIO else 0


def _thread(tid: int, allowed: set[int]) -> dict[str, Any]:
    """Return what is unusual of a thread; nothing in most cases."""
    found: dict[str, Any] = {}
    if (affinity := os.sched_getaffinity(tid)) < allowed:
        found["affinity"] = sorted(affinity)
    if (ioprio := _ioprio(tid)) > 0:
        found["ioprio"] = ioprio
    with contextlib.suppress(OSError):
        if (slack := _read(f"{PROC}/{tid}/{TIMER_SLACK}").strip()) not in USUAL_SLACK:
            found["slack"] = slack
    return found


def _threads(pid: int) -> list[int]:
    return [int(tid) for tid in os.listdir(f"{PROC}/{pid}/task")]


def _ended(status: dict[str, str]) -> bool:
    return status["State"].startswith(("Z", "X"))


def _process(pid: int, status: dict[str, str]) -> dict[str, Any]:
    """Return what is compared of a process."""
    compared = {name: status[name] for name in COMPARED if name in status}
    compared[OOM] = _read(f"{PROC}/{pid}/{OOM}").strip()
    return {"status": compared, "limits": _limits(pid)}


def describe(pids: Iterable[int], sockets: socket_options.SocketOptions) -> dict[str, Any]:
    """Return what is to be the same of a container's tasks, by their numbers inside it. They must not run meanwhile."""
    found = {}
    allowed: set[int] = set()
    for pid in pids:
        status = _status(pid)
        if _ended(status):  # it waits for its parent, and has nothing left
            continue
        allowed = allowed or allowed_processors(pid)
        threads = {tid: unusual for tid in _threads(pid) if (unusual := _thread(tid, allowed))}
        found[str(inner(status))] = {
            "name": status["Name"],
            **_process(pid, status),
            CORE_FILTER: _read(f"{PROC}/{pid}/{CORE_FILTER}").strip(),
            "threads": {str(inner(_status(tid))): unusual for tid, unusual in threads.items()},
            "sockets": sockets.describe(pid),
        }
    return found


def numbers(pids: Iterable[int]) -> dict[int, int]:
    """Return processes by their numbers inside the container."""
    return {inner(_status(pid)): pid for pid in pids}


def by_inner_number(told: Iterable[dict[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return what is told of sockets (``TOLD`` of their modules), of each process by its number inside the container."""
    inside: dict[int, int] = {}
    for each in told:
        if each["pid"] not in inside:
            inside[each["pid"]] = inner(_status(each["pid"]))
    return [{name: each[name] for name in names if name != "pid"} | {"pid": inside[each["pid"]]} for each in told]


def taken(pids: Iterable[int]) -> set[int]:
    """Return the numbers inside the container that processes, threads, groups and sessions have."""
    found: set[int] = set()
    for pid in pids:
        status = _status(pid)
        for name in ("NSpid", "NSpgid", "NSsid"):
            found.add(int(status[name].split()[-1]))
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(inner(_status(tid)) for tid in _threads(pid))
    return found


def connecting(pids: Iterable[int], inode: int, owner: list[int]) -> dict[str, Any] | None:
    """Return who has a socket that it has connected: number, uid, gid, groups; None if that is not known.

    Nobody can ask before it is accepted. If all that have it are one user, and that user has made it, they have connected it.

    :param owner: user and group that have made it.
    """
    holders = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            links = (os.readlink(f"{PROC}/{pid}/fd/{name}") for name in os.listdir(f"{PROC}/{pid}/fd"))
            if f"socket:[{inode}]" in links:
                holders.append(_status(pid))
    users = {(each["Uid"].split()[1], each["Gid"].split()[1], each["Groups"]) for each in holders}
    if len(users) != 1:
        return None
    uid, gid, groups = users.pop()
    if [int(uid), int(gid)] != owner:
        return None
    return {"number": min(map(inner, holders)), "uid": int(uid), "gid": int(gid), "groups": [*map(int, groups.split())]}


def read(data: bytes) -> dict[str, Any]:
    """Return what another host has described. :raises ValueError: it is no such description, or more than any needs."""
    try:
        described = json.loads(data) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict) or not all(map(_is_process, described.values())):
        raise ValueError("what the source says of the container's tasks cannot be read: run prepare.yml there again")
    return described


def _is_process(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    status, limits, threads = (value.get(name) for name in ("status", "limits", "threads"))
    return (
        isinstance(value.get("name"), str)
        and isinstance(status, dict)
        and all(isinstance(each, str) for each in status.values())
        and _NUMBER.fullmatch(str(status.get(OOM))) is not None
        and isinstance(limits, list)
        and all(isinstance(each, list) and all(isinstance(word, str) for word in each) for each in limits)
        and isinstance(value.get(CORE_FILTER), str)
        and _HEX.fullmatch(value[CORE_FILTER]) is not None
        and isinstance(threads, dict)
        and all(map(_is_thread, threads.values()))
        and socket_options.is_description(value.get("sockets"))
    )


def _is_thread(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    affinity, ioprio, slack = value.get("affinity", []), value.get("ioprio", 0), value.get("slack", "0")
    return (
        isinstance(affinity, list)
        and all(type(each) is int and 0 <= each < MOST_PROCESSORS for each in affinity)
        and type(ioprio) is int
        and 0 <= ioprio < 1 << 16
        and isinstance(slack, str)
        and _NUMBER.fullmatch(slack) is not None
    )


def settle(described: dict[str, Any], pids: Iterable[int]) -> None:
    """Give the tasks of a copy what CRIU does not, and compare the rest. They must not run meanwhile.

    :param described: what :func:`describe` has returned of the original; another host's word.
    :raises Different: something cannot be made the same here.
    """
    here = {}
    for pid in pids:
        status = _status(pid)
        here[str(inner(status))] = (pid, status)
    for number, was in described.items():
        what = f"process {number} ({was['name']})"
        if number not in here or _ended(here[number][1]):
            raise Different(f"{what} is missing in the copy")
        _settle_process(what, was, *here[number])


def _settle_process(what: str, was: dict[str, Any], pid: int, status: dict[str, str]) -> None:
    with contextlib.suppress(OSError):
        if _read(f"{PROC}/{pid}/{CORE_FILTER}").strip() != was[CORE_FILTER]:
            _write(f"{PROC}/{pid}/{CORE_FILTER}", f"0x{int(was[CORE_FILTER], 16):x}")
    with contextlib.suppress(OSError):  # containerd's shim has its own, one more than its daemon's, and gives it on
        if _read(f"{PROC}/{pid}/{OOM}").strip() != was["status"][OOM]:
            _write(f"{PROC}/{pid}/{OOM}", str(int(was["status"][OOM])))
    if was["threads"]:
        tids = {str(inner(_status(tid))): tid for tid in _threads(pid)}
        for inside, unusual in was["threads"].items():
            if inside not in tids:
                raise Different(f"a thread of {what} is missing in the copy")
            _settle_thread(what, unusual, tids[inside])
    if was["sockets"] and (lost := socket_options.settle(pid, was["sockets"])):
        raise Different(f"a socket of {what} has the option {lost}, which this host does not give it")
    has = _process(pid, status)
    for number, (before, now) in enumerate(zip(was["limits"], has["limits"])):
        if before != now:
            raise Different(
                f"{what} had resource limit {number} at {'/'.join(before)}, and this host allows {'/'.join(now)}: raise the "
                "limits of its Docker daemon"
            )
    for name, before in was["status"].items():
        if (now := has["status"].get(name, before)) != before:
            raise Different(f"{what} had {name} {before}, and its copy on this host has {now}")


def _settle_thread(what: str, unusual: dict[str, Any], tid: int) -> None:
    if "affinity" in unusual:
        wanted = {int(each) for each in unusual["affinity"]}
        with contextlib.suppress(OSError):
            os.sched_setaffinity(tid, wanted)
        if os.sched_getaffinity(tid) != wanted:
            listed = ", ".join(map(str, sorted(wanted)))
            raise Different(f"{what} runs on the processors {listed} only, and this host cannot give it those")
    if "ioprio" in unusual and _IOPRIO:
        _libc.syscall(ctypes.c_long(_IOPRIO[1]), _OF_PROCESS, tid, int(unusual["ioprio"]))
        if _ioprio(tid) != unusual["ioprio"]:
            raise Different(f"{what} has a priority of input and output that this host does not give it")
    if "slack" in unusual:
        _write(f"{PROC}/{tid}/{TIMER_SLACK}", str(int(unusual["slack"])))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
