# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration C of a host: kernel, distribution, CPU, container runtimes and what hardens or weakens them.

Everything is read below a root directory, so that tests read a made-up one. A fact is ``None`` where the host does not say
(it then counts for nothing), and an empty string or list where the thing is known to be absent.
"""

from __future__ import annotations

import os
import re
from typing import Any

#: Kernel settings that change what a neighbour can see or do; absent ones are left out.
SYSCTLS = (
    "fs.protected_fifos",
    "fs.protected_hardlinks",
    "fs.protected_regular",
    "fs.protected_symlinks",
    "fs.suid_dumpable",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.dmesg_restrict",
    "kernel.io_uring_disabled",
    "kernel.kexec_load_disabled",
    "kernel.kptr_restrict",
    "kernel.modules_disabled",
    "kernel.perf_event_paranoid",
    "kernel.randomize_va_space",
    "kernel.sysrq",
    "kernel.unprivileged_bpf_disabled",
    "kernel.unprivileged_userns_clone",
    "kernel.yama.ptrace_scope",
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_forward",
    "net.ipv4.tcp_syncookies",
    "vm.mmap_min_addr",
    "vm.unprivileged_userfaultfd",
)

#: Kernel settings outside /proc/sys that decide whether memory and cores are shared with neighbours.
SHARING = {
    "page_merging": "sys/kernel/mm/ksm/run",
    "huge_pages": "sys/kernel/mm/transparent_hugepage/enabled",
    "smt": "sys/devices/system/cpu/smt/control",
}


def read(root: str, path: str) -> str | None:
    """Return a file's text without the white space around it, or None if it cannot be read."""
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return None


def os_release(root: str) -> dict[str, str]:
    """Return ``distribution`` and ``distribution_version`` by os-release(5); testing releases have only a codename."""
    text = read(root, "etc/os-release") or read(root, "usr/lib/os-release") or ""
    fields = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            fields[key.strip()] = value.strip().strip("\"'")
    version = fields.get("VERSION_ID") or fields.get("VERSION_CODENAME") or fields.get("BUILD_ID") or ""
    return {"distribution": fields.get("ID") or "linux", "distribution_version": version}


#: Names of the same thing in /proc/cpuinfo: x86, Arm, s390x, POWER.
_CPU_MODEL = ("model name", "cpu model", "processor 0", "cpu", "CPU part")
_CPU_FLAGS = ("flags", "Features", "features")
_MICROCODE = ("microcode", "revision")


def cpu(root: str) -> dict[str, Any]:
    """Return ``cpu_model``, ``cpu_flags`` and ``microcode`` of the first processor."""
    fields: dict[str, str] = {}
    try:
        with open(os.path.join(root, "proc/cpuinfo"), encoding="utf-8", errors="replace") as stream:
            for line in stream:
                # the first processor is enough; on a host with 256 of them the file has a megabyte
                if not line.strip() and fields:
                    break
                key, colon, value = line.partition(":")
                if colon:
                    fields.setdefault(key.strip(), value.strip())
    except OSError:
        fields = {}

    def first(names: tuple[str, ...]) -> str | None:
        return next((fields[name] for name in names if fields.get(name)), None)

    flags = first(_CPU_FLAGS)
    return {
        "cpu_model": first(_CPU_MODEL),
        "cpu_flags": sorted(set(flags.split())) if flags else None,
        "microcode": first(_MICROCODE),
    }


def cgroup_mode(root: str) -> str | None:
    """Return v2, hybrid or v1; None where cgroups are not mounted."""
    base = os.path.join(root, "sys/fs/cgroup")
    if os.path.exists(os.path.join(base, "cgroup.controllers")):
        return "v2"
    if os.path.exists(os.path.join(base, "unified/cgroup.controllers")):
        return "hybrid"
    return "v1" if os.path.isdir(base) and os.listdir(base) else None


def security_modules(root: str) -> list[str] | None:
    """Return the kernel's active security modules; None where securityfs is not mounted."""
    text = read(root, "sys/kernel/security/lsm")
    return sorted(filter(None, text.split(","))) if text else None


def sysctls(root: str) -> dict[str, str]:
    """Return those of ``SYSCTLS`` that this kernel has."""
    values = {name: read(root, "proc/sys/" + name.replace(".", "/")) for name in SYSCTLS}
    return {name: " ".join(value.split()) for name, value in values.items() if value is not None}


def mitigations(root: str) -> dict[str, str]:
    """Return the kernel's own word on every known hardware vulnerability of this CPU."""
    base = os.path.join(root, "sys/devices/system/cpu/vulnerabilities")
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return {}
    values = {name: read(base, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def sharing(root: str) -> dict[str, str]:
    """Return the settings of ``SHARING``; of a list of choices, the one in brackets."""
    values = {}
    for name, path in SHARING.items():
        text = read(root, path)
        if text is not None:
            chosen = re.search(r"\[([^\]]+)\]", text)
            values[name] = chosen.group(1) if chosen else text
    return values


def criu_version(output: str) -> str:
    """Return the version in what ``criu --version`` prints."""
    found = re.search(r"^Version:\s*(\S+)", output, re.MULTILINE)
    return found.group(1) if found else ""


def runtime_versions(answer: dict[str, Any]) -> dict[str, str]:
    """Return ``docker``, ``containerd`` and ``runc`` from the Docker API's answer to GET /version.

    Distributions put the packaged revision into the commit ("1.1.15+ds1-2+b4"): a rebuilt runc is another runc.
    """
    versions = {"docker": str(answer.get("Version") or ""), "containerd": "", "runc": ""}
    for component in answer.get("Components") or []:
        name = component.get("Name")
        if name in ("containerd", "runc"):
            versions[name] = str(component.get("Version") or "")
            commit = str((component.get("Details") or {}).get("GitCommit") or "")
            if commit and commit != versions[name]:
                versions[name] += f" ({commit})"
    return versions


def configuration(root: str) -> dict[str, Any]:
    """Return the part of C that is read from files below ``root``."""
    kernel = os.uname()
    return {
        "kernel": kernel.release,
        "kernel_build": kernel.version,
        "architecture": kernel.machine,
        **os_release(root),
        **cpu(root),
        "cgroup": cgroup_mode(root),
        "lsms": security_modules(root),
        "sysctls": sysctls(root),
        "mitigations": mitigations(root),
        "sharing": sharing(root),
    }
