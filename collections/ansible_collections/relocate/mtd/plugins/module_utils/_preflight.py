# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a container cannot be moved, or not to this host: known before anything is touched.

Pure functions from what Docker and the host say to sentences. Each sentence says what stands in the way and what to do
about it; no sentence means that the move may begin. Standard library only, Python 3.9.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Collection, Dict, Iterable, List, Mapping, Optional, Tuple

from ansible_collections.relocate.mtd.plugins.module_utils import _networks, _paths
from ansible_collections.relocate.mtd.plugins.module_utils._areas import CRIU_AREAS
from ansible_collections.relocate.mtd.plugins.module_utils._criu import version_problem
from ansible_collections.relocate.mtd.plugins.module_utils._room import room_refusals

#: Drivers whose log is carried (json-file, local), is none, or is on another machine (the others). Docker keeps a copy of the
#: lines that those send away, for ``docker logs``: that begins anew.
PORTABLE_LOGS = (
    "json-file",
    "local",
    "none",
    "syslog",
    "gelf",
    "fluentd",
    "awslogs",
    "splunk",
    "gcplogs",
    "etwlogs",
)
#: The label by which a container's log may stay behind, and its value.
LOG_LABEL, LEFT = "relocate.mtd/log", "left"
#: Settings of ``docker run --device-read-bps`` and its like.
DISK_LIMITS = (
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
)
#: What one container can have from another: its namespaces, by the option of ``docker run`` that joins them.
JOINED = {"NetworkMode": "--network", "IpcMode": "--ipc", "PidMode": "--pid"}
LINK_NAME = "com.docker.network.endpoint.ifname"
#: Options of a container's place in a network, by the first version of Docker that heeds them. An older one shows them all the
#: same, and does nothing.
NETWORK_OPTIONS = {"com.docker.network.endpoint.sysctls": 27, LINK_NAME: 28, "gw-priority": 28}
SEVERAL_NETWORKS = 25  # the first Docker that makes a container on more than one (API 1.44)
#: Names under which Docker knows runc, and ours, which is runc too.
RUNTIMES = ("runc", "io.containerd.runc.v2", "relocate")
#: Room that the destination needs beyond the container's own memory: its image lies in tmpfs while it is restored.
MEMORY_FACTOR = 2.2
MEMORY_RESERVE = 128 << 20
DISK_RESERVE = 256 << 20


#: Capabilities of <linux/capability.h>: names by number.
CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
#: Those that root needs to dump and to restore. Not SYS_RESOURCE: CRIU is helped to do without.
NEEDED = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_ADMIN",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_ADMIN",
    "SYS_NICE",
    "MKNOD",
]
#: Security modules, by what people call them.
MODULES = {"apparmor": "AppArmor", "selinux": "SELinux"}
#: Docker loads its own profile where a container needs it. Of several at once, and of one in a namespace, nobody can say.
DOCKERS_PROFILE, ODD_PROFILE = "docker-default", re.compile("//&|^:")
#: Where a published port may listen on any host.
ANYWHERE = ("", "0.0.0.0", "::", "127.0.0.1", "::1")


def _names(bits: int) -> List[str]:
    return [f"CAP_{name}" for number, name in enumerate(CAPABILITIES) if bits >> number & 1]


def checks_health(inspected: Dict[str, Any]) -> bool:
    """Return whether Docker itself starts commands in a container, to see that it is well."""
    test = (inspected["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
    return bool(test[0] != "NONE")


def container_refusals(inspected: Dict[str, Any], live: bool = True) -> List[str]:
    """Return why this container cannot be carried to another host at all.

    :param inspected: ``docker inspect`` of one container. :param live: False: it is made anew there, and loses what only a live
        move keeps.
    """
    name, state = inspected["Name"].lstrip("/"), inspected["State"]
    config, host = inspected["Config"], inspected["HostConfig"]
    found = []
    if not state.get("Running") or state.get("Restarting") or state.get("Dead"):
        found.append(f"the container {name} is not running ({state.get('Status')}): start it first")
    elif state.get("Paused"):
        found.append(f"the container {name} is paused: unpause it first")
    if inspected.get("ExecIDs") and (live or not checks_health(inspected)):
        found.append(
            f"a command started with docker exec is running in the container {name}: end it, because it cannot follow"
            if not checks_health(inspected)
            else f"a command started with docker exec, or its health check, is running in the container {name}: end it, or "
            "try again when it has ended, because it cannot follow"
        )
    if live and config.get("Tty"):
        found.append(f"the container {name} has a terminal (TTY), which cannot follow it: run it without -t")
    if live and config.get("OpenStdin"):
        found.append(
            f"the container {name} reads a standard input (docker run -i), whose other end would stay behind: run it without -i"
        )
    bound = {each.get("HostIp") or "" for ports in (host.get("PortBindings") or {}).values() for each in ports or []}
    if bound - set(ANYWHERE):
        found.append(
            f"the container {name} publishes a port on one address of this host ({', '.join(sorted(bound - set(ANYWHERE)))}), "
            "which no other host has: publish it on all"
        )
    if host.get("Privileged"):
        found.append(f"the container {name} is privileged: it may hold parts of this host that cannot follow it")
    if live and host.get("PidsLimit") == 1:
        found.append(
            f"the container {name} may have one process only (--pids-limit 1), and restoring it takes two: give it two "
            f"(docker update --pids-limit 2 {name})"
        )
    found += _namespace_refusals(name, host)
    mounts = inspected.get("Mounts") or []
    # a file system in memory is carried, whichever option it was made with
    places = sorted({each["Destination"] for each in mounts if each.get("Type") not in ("volume", "bind", "tmpfs")})
    if places:
        found.append(
            f"the container {name} has mounts of a kind that is not carried ({', '.join(places)}): use a volume, or it "
            "stays, because nothing may be lost"
        )
    if host.get("VolumesFrom"):
        found.append(f"the container {name} has the volumes of another (--volumes-from), which would stay behind")
    if host.get("Devices") or host.get("DeviceRequests"):
        found.append(f"the container {name} uses devices of this host, which cannot follow it")
    if host.get("DeviceCgroupRules"):
        found.append(
            f"the container {name} may use devices of this host (--device-cgroup-rule), which cannot follow it: run it without"
        )
    disks = sorted({each.get("Path") or "" for key in DISK_LIMITS for each in host.get(key) or []})
    if disks:
        found.append(
            f"the container {name} has limits for disks of this host ({', '.join(disks)}), and what has that name on another "
            "host is another disk: run it without --device-read-bps and its like"
        )
    if host.get("VolumeDriver") not in (None, "", "local"):
        found.append(
            f"the container {name} has its volumes from the driver '{host['VolumeDriver']}', which alone knows where they are: "
            "use Docker's own"
        )
    if host.get("Links"):
        found.append(f"the container {name} is linked to others (--link): use a user-defined network instead")
    runtime = host.get("Runtime") or "runc"
    if runtime not in RUNTIMES:
        found.append(f"the container {name} uses the runtime '{runtime}': only containers of runc can be carried")
    return found + (_log_refusals(name, config, host.get("LogConfig") or {}) if live else [])


def _log_refusals(name: str, config: Dict[str, Any], log: Dict[str, Any]) -> List[str]:
    driver = log.get("Type") or "json-file"
    here = driver == "syslog" and not _leaves((log.get("Config") or {}).get("syslog-address") or "")
    if (driver in PORTABLE_LOGS and not here) or (config.get("Labels") or {}).get(LOG_LABEL) == LEFT:
        return []
    return [
        f"the log driver '{driver}' of the container {name} keeps the log on this host, where it would stay: use json-file or "
        f"local, or one that sends it to another machine, or allow that with the label {LOG_LABEL}={LEFT}"
    ]


def _leaves(address: str) -> bool:
    """Return whether what is sent to an address of syslog's leaves the host; nothing and ``unix…://`` is its own syslog."""
    return bool(address) and not address.startswith("unix")


def _namespace_refusals(name: str, host: Dict[str, Any]) -> List[str]:
    found = []
    network = host.get("NetworkMode") or "default"
    if network == "host":
        found.append(f"the container {name} uses the host's network: its address is the host's and cannot change alone")
    elif network == "none" or network.startswith("container:"):
        found.append(f"the container {name} has no network of its own ({network}): it must be on a bridge")
    for key, what in (("PidMode", "processes"), ("IpcMode", "shared memory"), ("UTSMode", "host name")):
        mode = host.get(key) or ""
        if mode == "host" or mode.startswith("container:"):
            found.append(f"the container {name} shares its {what} ({mode}) with others, which would stay behind")
    if host.get("IpcMode") == "shareable":
        found.append(
            f"the container {name} offers its shared memory to others (--ipc shareable), which is not carried yet: run it with "
            "--ipc private"
        )
    if host.get("UsernsMode") not in (None, "", "host"):
        found.append(f"the container {name} has a user namespace of its own, which is not carried yet")
    return found


def recreate_refusals(inspected: Dict[str, Any], about_binds: List[str]) -> List[str]:
    """Return why this container cannot be made anew on another host, with its settings and without its memory and files.

    :param about_binds: why its bind mounts keep it here.
    """
    name = inspected["Name"].lstrip("/")
    own = sorted({each["Destination"] for each in inspected.get("Mounts") or [] if each.get("Type") == "volume"})
    found = container_refusals(inspected, live=False)
    if own:
        found.append(
            f"the container {name} has volumes ({', '.join(own)}), and the new one would run beside it without their data: use "
            "the strategy live, or keep the data in a directory that both hosts share"
        )
    return [*found, *about_binds]


def guest_refusals(inspected: Dict[str, Any], others: Iterable[Dict[str, Any]]) -> List[str]:
    """Return why other containers of the host keep this one here: they live in its namespaces.

    :param others: ``docker inspect`` of every container of the host, this one may be among them.
    """
    name, mode = inspected["Name"].lstrip("/"), f"container:{inspected['Id']}"
    return [
        f"the container {other['Name'].lstrip('/')} is in a namespace of {name} ({option} container:{name}), and would be left "
        "in it behind: remove it before"
        for other in others
        for key, option in JOINED.items()
        if (other.get("HostConfig") or {}).get(key) == mode
    ]


def fixed_addresses(inspected: Dict[str, Any]) -> List[str]:
    """Return the addresses that were asked for in the container's networks (``--ip`` and ``--ip6``)."""
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    asked = [each.get("IPAMConfig") or {} for each in networks.values()]
    return sorted(each[key] for each in asked for key in ("IPv4Address", "IPv6Address") if each.get(key))


def network_options(inspected: Dict[str, Any]) -> List[str]:
    """Return the names of the options that the container's places in its networks have (``--network name=…,driver-opt=…``)."""
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    found = {option for each in networks.values() for option in each.get("DriverOpts") or {}}
    return sorted(found | {"gw-priority" for each in networks.values() if each.get("GwPriority")})


def host_refusals(name: str, host: Dict[str, Any]) -> List[str]:
    """Return why a host cannot take part in relocations as a Docker host.

    :param name: of the host, for the sentences.
    :param host: the ``host`` of :func:`relocation_info`'s result.
    """
    found = []
    if not host.get("docker_version"):
        return [f"{name} has no running Docker daemon: {host.get('docker_problem') or 'start it'}"]
    if not host.get("criu_version"):
        found.append(f"{name} has no CRIU: install it (package criu) and run prepare.yml")
    else:
        problem = version_problem(host["kernel"], host["criu_version"])
        if problem:
            found.append(f"{name}: {problem}")
    lacking = [each for each in _names(~host["capabilities"]) if each[4:] in NEEDED] if host.get("capabilities") else []
    if lacking:
        found.append(f"root on {name} lacks {', '.join(lacking)}, without which CRIU cannot work: grant it")
    if host.get("userns_remap"):
        found.append(f"Docker on {name} maps users (userns-remap), and such containers are not carried yet")
    if not host.get("pycriu"):
        found.append(f"{name} has no python3-pycriu: install it together with CRIU and run prepare.yml")
    if not host.get("proxy"):
        found.append(f"{name} has no relocation proxy: run prepare.yml")
    elif not host.get("runtime"):
        found.append(f"Docker on {name} does not know the runtime 'relocate': run prepare.yml")
    return found + room_refusals(name, host, "journals") + room_refusals(name, host, "images")


def destination_refusals(
    name: str,
    host: Dict[str, Any],
    containers: List[Dict[str, Any]],
    used_ports: List[Tuple[str, int]],
    container: Dict[str, Any],
    source: Dict[str, Any],
) -> List[str]:
    """Return why this host cannot take this container.

    :param name: of the destination.
    :param host: its ``host`` facts; :param containers: what is on it; :param used_ports: ``(protocol, port)`` taken there.
    :param container: the container as ``relocation_info`` describes it on the source.
    :param source: the source's ``host`` facts.
    """
    found = host_refusals(name, host)
    if host.get("cordoned"):
        found.append(f"{name} is cordoned and takes no containers: remove {_paths.CORDON} there to lift that")
    for other in containers:
        if other["name"] == container["name"]:
            found.append(
                f"{name} already has a container named {container['name']} ({other['state']}): remove it there (docker rm)"
            )
    taken = {(protocol, int(port)) for protocol, port in used_ports}
    for port in container["ports"]:
        if (port["protocol"], port["host_port"]) in taken:
            found.append(f"port {port['host_port']}/{port['protocol']} is already taken on {name}: free it there")
    for volume in container.get("volumes") or []:
        if not volume["anonymous"] and volume["name"] in (host.get("volumes") or []):
            found.append(
                f"{name} already has a volume named {volume['name']}, whose data may be anybody's: remove it there (docker "
                "volume rm) or give one of the two another name"
            )
    if host.get("architecture") and host["architecture"] != source.get("architecture"):
        found.append(
            f"{name} is {host['architecture']} and the source is {source.get('architecture')}: memory cannot follow"
        )
    missing = set((source.get("cpu_flags") or "").split()) - set((host.get("cpu_flags") or "").split())
    if host.get("cpu_flags") and missing:
        found.append(f"{name}'s processor lacks {', '.join(sorted(missing)[:5])}, which the container may be using")
    if host.get("capabilities") and container.get("capabilities", 0) & ~host["capabilities"]:
        lacking = _names(container["capabilities"] & ~host["capabilities"])
        found.append(
            f"{name} cannot give the container {', '.join(lacking)}: drop that (--cap-drop), or grant it to the host"
        )
    bound = set(container.get("processors") or []) - set(host.get("processors") or [])
    if host.get("processors") and bound:
        listed = ", ".join(map(str, sorted(bound)))
        found.append(f"{name} has no processor {listed}, to which a program of the container is bound")
    found += _option_refusals(name, host, container)
    found += _confinement_refusals(name, host, container, source)
    found += _capacity_refusals(name, host, container)
    found += _area_refusals(name, host, container)
    network = container.get("network")
    made, refused = _networks.plan(name, host, containers, container)
    settled = {*refused, *(each["settings"]["Name"] for each in made)}
    found += [reason for reasons in refused.values() for reason in reasons]
    if container.get("kept_addresses") is not None:
        found += _kept_refusals(name, host, containers, container, settled)
    elif network in settled:
        pass
    elif network and network not in (host.get("networks") or []):
        found.append(f"{name} has no Docker network '{network}': create it there")
    elif network:
        found += _address_refusals(name, network, (host.get("subnets") or {}).get(network) or [], container)
    return found


def _option_refusals(name: str, host: Dict[str, Any], container: Dict[str, Any]) -> List[str]:
    """Return what of the container's places in its networks Docker on this host would leave out without a word."""
    version = re.match(r"\d+", host.get("docker_version") or "")
    networks = sorted({each["network"] for each in container.get("kept_addresses") or []})
    several = [
        f"Docker {host['docker_version']} on {name} makes no container on several networks ({', '.join(networks)}): it takes "
        f"Docker {SEVERAL_NETWORKS}"
    ]
    too_old = version and int(version.group()) < SEVERAL_NETWORKS
    return (several if too_old and len(networks) > 1 else []) + [
        f"Docker {host['docker_version']} on {name} does not heed the network option {option} of the container "
        f"{container['name']}: it takes Docker {NETWORK_OPTIONS[option]}"
        for option in container.get("network_options") or []
        if version and int(version.group()) < NETWORK_OPTIONS.get(option, 0)
    ]


def _confinement_refusals(
    name: str, host: Dict[str, Any], container: Dict[str, Any], source: Dict[str, Any]
) -> List[str]:
    """Return why CRIU could not put the programs where they are: in such control groups, confined by such a module."""
    found = []
    here, there = host.get("cgroup_version"), source.get("cgroup_version")
    if here and there and here != there:
        found.append(
            f"{name} has control groups of version {here} and the source of version {there}, and what runs in one cannot be "
            "restored in the other: boot both with the same (systemd.unified_cgroup_hierarchy)"
        )
    module, label, known = source.get("security_module"), container.get("security_label"), host.get("apparmor_profiles")
    if not module or not label or host.get("security_module") is None:
        return found
    if host["security_module"] != module:
        found.append(
            f"the container {container['name']} is confined by {MODULES.get(module, module)} ({label}), which {name} does not "
            "have: switch it on there"
        )
    elif module == "apparmor" and known and label not in (*known, DOCKERS_PROFILE) and not ODD_PROFILE.search(label):
        found.append(
            f"{name} has not loaded the AppArmor profile '{label}' of the container {container['name']}: load it there "
            "(apparmor_parser)"
        )
    return found


def _kept_refusals(
    name: str,
    host: Dict[str, Any],
    containers: List[Dict[str, Any]],
    container: Dict[str, Any],
    made: Collection[str],
) -> List[str]:
    """Return why a container cannot have on this host the addresses that it keeps.

    :param container: with ``kept_addresses``: the ``network``, its ``subnet``, and the ``address`` of each.
    :param made: names of networks of which the move itself sees to, or has said why it cannot.
    """
    found = []
    for kept in container["kept_addresses"]:
        network, address = kept["network"], kept["address"]
        if network in made:
            continue
        subnets = (host.get("subnets") or {}).get(network) or []
        if network not in (host.get("networks") or []):
            found.append(
                f"{name} has no Docker network '{network}', on which {container['name']} keeps its address: create it there "
                f"(docker network create --subnet {kept.get('subnet') or 'SUBNET'} {network})"
            )
        elif not any(ipaddress.ip_address(address) in ipaddress.ip_network(each, strict=False) for each in subnets):
            found.append(
                f"the Docker network '{network}' on {name} ({', '.join(subnets) or 'without a subnet'}) does not have the "
                f"address {address}, which {container['name']} keeps: create it there with the same subnet"
            )
        found += [
            f"the address {address} in the network '{network}' on {name}, which {container['name']} keeps, is that of the "
            f"container {other['name']}: remove that one there"
            for other in containers
            if address in ((other.get(family) or {}).get(network) for family in ("networks", "networks6"))
            and other["name"] != container["name"]
        ]
    return found


def _address_refusals(name: str, network: str, subnets: List[str], container: Dict[str, Any]) -> List[str]:
    """Return why the container cannot have on a host the addresses that were chosen for it."""
    known = [ipaddress.ip_network(subnet, strict=False) for subnet in subnets]
    lacking = [
        address
        for address in container.get("fixed_addresses") or []
        if not any(ipaddress.ip_address(address) in subnet for subnet in known)
    ]
    return [
        f"the Docker network '{network}' on {name} ({', '.join(subnets) or 'without a subnet'}) does not have the address "
        f"{address}, which the container {container['name']} was given: create it there with the same subnet"
        for address in lacking
    ]


def promise_problem(name: str, host: Mapping[str, Any], needed: int, memory: int) -> Optional[str]:
    """Return why a host that promises no more than it has cannot promise what a container has reserved; None if it can.

    :param needed: bytes of address space. :param memory: of the container: its image lies beside it.
    """
    left = host.get("promised_bytes_left")
    needed += int(memory * (MEMORY_FACTOR - 1)) + MEMORY_RESERVE
    if left is None or left >= needed:
        return None
    return (
        f"{name} promises no more memory than it has (vm.overcommit_memory 2), and of that {left >> 20} MiB are left: the move "
        f"needs {needed >> 20} MiB, much of it only reserved; set it to 0 there, or raise vm.overcommit_ratio"
    )


def _area_refusals(name: str, host: Dict[str, Any], container: Dict[str, Any]) -> List[str]:
    found = []
    most, needed = host.get("most_areas"), container.get("areas", 0) + CRIU_AREAS
    if most and most < needed:
        found.append(
            f"{name} allows a process {most} areas of memory, and a program of the container needs {needed} while it is "
            "restored: raise vm.max_map_count there"
        )
    problem = promise_problem(name, host, container.get("committed_bytes", 0), container.get("memory_bytes", 0))
    return [*found, *filter(None, [problem])]


def _capacity_refusals(name: str, host: Dict[str, Any], container: Dict[str, Any]) -> List[str]:
    found = []
    memory: Optional[int] = host.get("memory_available_bytes")
    needed = int(container.get("memory_bytes", 0) * MEMORY_FACTOR) + MEMORY_RESERVE
    if memory is not None and memory < needed:
        found.append(f"{name} has {memory >> 20} MiB of memory available and the move needs {needed >> 20} MiB")
    disk: Optional[int] = host.get("disk_available_bytes")
    files = (
        container.get("layer_bytes", 0)
        + container.get("incoming_bytes", 0)
        + sum(each["bytes"] for each in container.get("volumes") or [])
    )
    if disk is not None and disk < DISK_RESERVE + files:
        found.append(f"{name} has {disk >> 20} MiB of disk available for Docker, which is too little")
    return found + room_refusals(name, host, "docker")
