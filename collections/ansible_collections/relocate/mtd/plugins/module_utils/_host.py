# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host brings to relocations, read from the host. Standard library only, Python 3.9."""

from __future__ import annotations

import fcntl
import importlib.util
import ipaddress
import json
import os
import platform
import time
from typing import Any, Callable, Dict, List, Optional

from ansible_collections.relocate.mtd.plugins.module_utils import (
    _binds,
    _bundle,
    _freezer,
    _images,
    _networks,
    _paths,
    _preflight,
    _sockets,
    _speed,
    _traits,
    _volumes,
)
from ansible_collections.relocate.mtd.plugins.module_utils._criu import freezer, version_tuple
from ansible_collections.relocate.mtd.plugins.module_utils._docker import (
    DockerClient,
    DockerError,
    address,
    own_addresses,
    publications,
)
from ansible_collections.relocate.mtd.plugins.module_utils._room import room

FINAL = ("done", "rolled-back")
#: Where each security module shows itself; of several, CRIU takes the first.
SECURITY_MODULES = {"apparmor": "/sys/kernel/security/apparmor", "selinux": "/sys/fs/selinux"}
TAIL = 4096  # bytes of a journal in which its last line usually is
ESTABLISHED = "01"  # <net/tcp_states.h>
#: How long all health checks of a host may keep its survey: most take milliseconds, and the freeze waits for one as well.
CHECK_SECONDS = 2.0
CHECK_LOOK_SECONDS = 0.02


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:  # no carriage return in a name ends a line
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _memory_available() -> Optional[int]:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _commitments() -> Dict[str, Any]:
    """Return what this host allows of address space.

    C(most_areas) of a process, and C(promised_bytes_left), None where the kernel promises more than it has
    (C(vm.overcommit_memory) 0 or 1).
    """
    sizes = dict(line.split(":", 1) for line in _text("/proc/meminfo").splitlines() if ":" in line)
    free = None
    if _text("/proc/sys/vm/overcommit_memory").strip() == "2":
        free = (int(sizes["CommitLimit"].split()[0]) - int(sizes["Committed_AS"].split()[0])) * 1024
    most = _text("/proc/sys/vm/max_map_count").strip()
    return {"most_areas": int(most) if most else None, "promised_bytes_left": free if free is None else max(free, 0)}


def _cpu_flags() -> str:
    """Return the processor's feature flags, without those that only say how the kernel deals with its faults."""
    for line in _text("/proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            return line.partition(":")[2].strip()
    return ""


def _security() -> Dict[str, Any]:
    """Return the security module that this host confines programs by, as CRIU finds it ("": none), and AppArmor's profiles."""
    module = next((name for name, place in SECURITY_MODULES.items() if os.path.exists(place)), "")
    lines = _text(f"{SECURITY_MODULES['apparmor']}/profiles").splitlines()
    return {
        "security_module": module,
        "apparmor_profiles": sorted({line.rpartition(" (")[0] for line in lines}) if lines else None,
    }


def modes(run: Callable[..., str], criu: Optional[str]) -> Dict[str, Any]:
    """Return what the modes of a relocation depend on: see :mod:`_modes`."""

    def feature(name: str) -> bool:
        return bool(criu and run(criu, "check", "--feature", name))

    return {
        "userfaultfd": feature("uffd-noncoop"),
        "dirty_tracking": feature("mem_dirty_track"),
    }


def _process_memory(pid: int) -> int:
    """Return the resident bytes of all tasks of the container whose init is ``pid``; 0 when it is gone."""
    total = 0
    try:
        at = freezer(_text(f"/proc/{pid}/cgroup"), _text("/proc/self/mountinfo"))
    except ValueError:
        return 0
    for line in _text(f"{at.directory}/cgroup.procs").split():
        fields = _text(f"/proc/{line}/statm").split()
        total += int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0
    return total


def _members(pid: int, identifier: str) -> List[int]:
    """Return the processes of the container whose init is ``pid``; none when it is gone."""
    try:
        return _freezer.members(_freezer.freezer_of(pid, identifier))
    except (OSError, ValueError):
        return []


def _connections(pid: int) -> int:
    """Return how many established TCP connections the network namespace of a process has."""
    tables = "".join(_text(f"/proc/{pid}/net/{table}") for table in ("tcp", "tcp6"))
    return sum(fields[3:4] == [ESTABLISHED] for fields in map(str.split, tables.splitlines()))


def _volume(inspected: Dict[str, Any], mount: Dict[str, Any]) -> Dict[str, Any]:
    point = mount["Destination"]
    return {
        "name": mount.get("Name") or "",
        "point": point,
        "anonymous": _volumes.anonymous(inspected, point),
        "bytes": _volumes.size(mount.get("Source") or ""),
    }


def _declared(identifier: str) -> List[str]:
    """Return where the runtime has mounted something in a container; nothing if it has gone."""
    try:
        return [mount["destination"] for mount in _bundle.config_of(identifier).get("mounts") or []]
    except (OSError, ValueError):
        return []


def _between_checks(engine: DockerClient, identifier: str, deadline: float) -> Optional[Dict[str, Any]]:
    """Return how a container is inspected when no health check of it runs: that ends by itself, and keeps it nowhere.

    :param deadline: one that runs still is taken for a command of somebody's.
    """
    while True:
        inspected = engine.container(identifier)
        if (
            inspected is None
            or not inspected.get("ExecIDs")
            or not _preflight.checks_health(inspected)
            or time.monotonic() > deadline
        ):
            return inspected
        time.sleep(CHECK_LOOK_SECONDS)


def _container(
    engine: DockerClient,
    short: Dict[str, Any],
    others: List[Dict[str, Any]],
    volumes: Dict[str, Any],
    users: Dict[str, List[str]],
    deadline: float,
) -> Optional[Dict[str, Any]]:
    inspected = _between_checks(engine, short["Id"], deadline)
    if inspected is None:  # gone since the listing
        return None
    image = engine.image(inspected["Image"]) or {}
    network = inspected["HostConfig"].get("NetworkMode") or "default"
    pid = inspected["State"]["Pid"] if inspected["State"].get("Running") else None
    traits = _traits.survey(_members(pid, inspected["Id"]), inspected) if pid else {"refusals": []}
    binds, about_binds = _binds.describe(inspected, _binds.policy())
    places = inspected.get("NetworkSettings", {}).get("Networks") or {}
    return {
        "name": inspected["Name"].lstrip("/"),
        "id": inspected["Id"],
        "state": inspected["State"]["Status"],
        "started_at": inspected["State"].get("StartedAt"),
        "image": inspected["Config"]["Image"],
        "image_id": inspected["Image"],
        "image_bytes": image.get("Size") or 0,
        "image_layers": _images.layers_of(image),
        "image_digests": sorted(name.partition("@")[2] for name in image.get("RepoDigests") or []),
        "labels": inspected["Config"].get("Labels") or {},
        "address": address(inspected),
        "address6": own_addresses(inspected)[1] or None,
        "network": None if network in ("default", "bridge") else network,
        **{
            found: {name: each.get(told) or None for name, each in sorted(places.items())}
            for found, told in (("networks", "IPAddress"), ("networks6", "GlobalIPv6Address"))
        },
        "fixed_addresses": _preflight.fixed_addresses(inspected),
        "network_options": _preflight.network_options(inspected),
        "ports": [
            {"protocol": port.protocol, "host_port": port.host_port, "container_port": port.container_port}
            for port in publications(short)
        ],
        "memory_bytes": _process_memory(pid) if pid else 0,
        "connections": _connections(pid) if pid else 0,
        "layer_bytes": short.get("SizeRw") or 0,
        "binds": binds,
        "volumes": [_volume(inspected, mount) for mount in _volumes.mounted(inspected)],
        **traits,
        "recreate_refusals": _preflight.recreate_refusals(inspected, about_binds),
        "refusals": [
            *_preflight.container_refusals(inspected),
            *_volumes.refusals(inspected, volumes, users),
            *about_binds,
            *(
                _volumes.mount_refusals(inspected, _text(f"/proc/{pid}/mountinfo"), _declared(inspected["Id"]))
                if pid
                else []
            ),
            *_preflight.guest_refusals(inspected, others),
            *traits["refusals"],
        ],
    }


def _docker(engine: DockerClient, host: Dict[str, Any], starting: List[str]) -> List[Dict[str, Any]]:
    """Fill in what the daemon says about itself; return its containers.

    A container that is just being restored here would block ``inspect``: those in ``starting`` are left out.
    """
    try:
        info = engine.info()
    except DockerError as error:
        host.update(
            docker_version=None,
            docker_problem=str(error),
            runtime=False,
            networks=[],
            subnets={},
            network_settings={},
            disk_available_bytes=None,
            volumes=[],
            cgroup_version=None,
        )
        return []
    disk = os.statvfs(info["DockerRootDir"])
    volumes = {volume["Name"]: volume for volume in engine.request("GET", "/volumes").get("Volumes") or []}
    networks = engine.request("GET", "/networks")
    listed = engine.containers()
    users = _volumes.users(listed)
    host["room"]["docker"] = room(info["DockerRootDir"])
    host.update(
        docker_version=info["ServerVersion"],
        docker_problem=None,
        runtime="relocate" in (info.get("Runtimes") or {}),
        networks=sorted(network["Name"] for network in networks),
        subnets={network["Name"]: _subnets(network) for network in networks},
        network_settings={
            network["Name"]: _networks.describe(network) for network in networks if network["Name"] not in _networks.OWN
        },
        disk_available_bytes=disk.f_bavail * disk.f_frsize,
        volumes=sorted(volumes),
        cgroup_version={"1": 1, "2": 2}.get(str(info.get("CgroupVersion"))),
        userns_remap=any("name=userns" in each for each in info.get("SecurityOptions") or []),
    )
    deadline = time.monotonic() + CHECK_SECONDS
    known = [short for short in listed if short["Id"] not in starting]
    others = [each for each in (engine.container(short["Id"]) for short in known) if each]
    found = [_container(engine, short, others, volumes, users, deadline) for short in known]
    return sorted((each for each in found if each), key=lambda each: each["name"])


def _subnets(network: Dict[str, Any]) -> List[str]:
    """Return the subnets of a Docker network."""
    configured = (network.get("IPAM") or {}).get("Config") or []
    return [each["Subnet"] for each in configured if each.get("Subnet")]


def _routes() -> List[str]:
    """Return the networks that this host's routes lead to, without the default ones."""
    found = set()
    for line in _text("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(fields[place]), "little") for place in (1, 7))
        found.add(str(ipaddress.ip_network((address, bin(mask).count("1")), strict=False)))
    for line in _text("/proc/net/ipv6_route").splitlines():
        fields = line.split()
        found.add(str(ipaddress.ip_network((bytes.fromhex(fields[0]), int(fields[1], 16)), strict=False)))
    return sorted(found - {"0.0.0.0/0", "::/0"})


def _interfaces() -> List[str]:
    """Return the names of this host's network interfaces."""
    return sorted(line.partition(":")[0].strip() for line in _text("/proc/net/dev").splitlines() if ":" in line)


def _has_ended(path: str) -> bool:
    """Look at a journal's end alone: there are thousands, and nearly all of them have one. False where that does not tell."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            tail = file.read()
    except OSError:
        return False
    try:
        last = json.loads(tail[:-1].rpartition(b"\n")[2] if tail.endswith(b"\n") else b"")
    except (ValueError, RecursionError):
        return False
    return isinstance(last, dict) and last.get("state") in FINAL


def unfinished() -> List[Dict[str, Any]]:
    """Return the relocations whose journal on this host has no end."""
    found = []
    for name in sorted(os.listdir(_paths.JOURNALS)) if os.path.isdir(_paths.JOURNALS) else []:
        path = os.path.join(_paths.JOURNALS, name)
        if not name.endswith(".jsonl") or _has_ended(path):
            continue
        facts: Dict[str, Any] = {}
        for line in _text(path).splitlines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # the last line of a crashed host: that step was never taken
                break
            if not isinstance(entry, dict):
                break
            facts.update(entry)
        relocation, _, part = name[: -len(".jsonl")].partition(".")
        if isinstance(facts.get("state"), str) and facts["state"] not in FINAL and part:
            plan = facts.get("plan")
            container = facts.get("container") or (plan.get("container") if isinstance(plan, dict) else None)
            entry = {"relocation": relocation, "part": part, "state": facts["state"], "container": container}
            found.append({**entry, "living": _lives(relocation, part)})
    return found


def _lives(relocation: str, part: str) -> bool:
    """Say whether a part has a process here, which will bring it to an end."""
    try:
        fd = os.open(os.path.join(_paths.PARTS, relocation + "." + part), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _starting() -> List[str]:
    """Return the ids of containers that wait at their gate."""
    return os.listdir(_paths.EXPECTED) if os.path.isdir(_paths.EXPECTED) else []


def _memory_speed() -> Dict[str, float]:
    try:
        return _speed.memory_speed()
    except OSError:  # a host without room for a few MiB: it is refused for that, not for its speed
        return {}


def describe(run: Callable[..., str], find: Callable[[str], Optional[str]]) -> Dict[str, Any]:
    """Return the whole description.

    :param run: runs a program and returns its output, "" if it failed; :param find: returns a program's path or None.
    """
    criu = find("criu")
    words = run(criu, "--version") if criu else ""
    host: Dict[str, Any] = {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "criu_version": ".".join(map(str, version_tuple(words))) if words else None,
        "pycriu": importlib.util.find_spec("pycriu") is not None,
        "proxy": os.path.exists(_paths.PROXY),
        "shim": os.path.exists(_paths.RESTORE_SHIM),
        "memory_available_bytes": _memory_available(),
        "room": {
            "images": room(_paths.SESSIONS) if os.path.ismount(_paths.SESSIONS) else {},  # mounted by the first move
            "journals": room(_paths.JOURNALS),
            "recordings": room(_paths.RECORDINGS),
        },
        "memory_speed": _memory_speed(),
        **_commitments(),
        "cpu_flags": _cpu_flags(),
        **_security(),
        "processors": sorted(os.sched_getaffinity(0)),
        "capabilities": _traits.capabilities(os.getpid()),
        "cordoned": os.path.exists(_paths.CORDON),
        "routes": _routes(),
        "interfaces": _interfaces(),
        **modes(run, criu),
    }
    engine = DockerClient()
    containers = _docker(engine, host, _starting())
    ports = set()
    for protocol in ("tcp", "udp"):
        for table in (protocol, protocol + "6"):
            ports |= {(protocol, port) for port in _sockets.listening(_text(f"/proc/net/{table}"), protocol)}
    for container in containers:
        ports |= {(port["protocol"], port["host_port"]) for port in container["ports"]}
    return {
        "host": host,
        "containers": containers,
        "used_ports": sorted(list(pair) for pair in ports),
        "unfinished": unfinished(),
    }
