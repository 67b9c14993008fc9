# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What relocate.mtd.host_profile makes of a host's files and of its tools' output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._profile import network as network
from ansible_collections.relocate.mtd.plugins.module_utils._profile import services as services
from ansible_collections.relocate.mtd.plugins.module_utils._profile import system as system


def put(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_ID="13"\n', {"distribution": "debian", "distribution_version": "13"}),
        ("ID=debian\nVERSION_CODENAME=forky\n", {"distribution": "debian", "distribution_version": "forky"}),
        ("ID='alpine'\nVERSION_ID=3.22.1\n", {"distribution": "alpine", "distribution_version": "3.22.1"}),
        ("", {"distribution": "linux", "distribution_version": ""}),
    ],
)
def test_os_release(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    put(tmp_path, "etc/os-release", text)
    assert system.os_release(str(tmp_path)) == expected


def test_cpu_reads_the_first_processor_only(tmp_path: Path) -> None:
    first = "processor\t: 0\nmodel name\t: AMD EPYC\nmicrocode\t: 0x1\nflags\t\t: sse aes\n\n"
    put(tmp_path, "proc/cpuinfo", first + first.replace("EPYC", "other").replace("aes", "avx"))
    assert system.cpu(str(tmp_path)) == {"cpu_model": "AMD EPYC", "cpu_flags": ["aes", "sse"], "microcode": "0x1"}


def test_cpu_of_an_arm_host_has_no_model_and_no_microcode(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n\n")
    assert system.cpu(str(tmp_path)) == {"cpu_model": "0xd0c", "cpu_flags": ["asimd", "fp"], "microcode": None}


def test_a_host_that_says_nothing_gives_nulls(tmp_path: Path) -> None:
    facts = system.configuration(str(tmp_path))
    unknown = {key for key, value in facts.items() if value is None}
    assert unknown == {"cpu_model", "cpu_flags", "microcode", "cgroup", "lsms"}
    assert facts["sysctls"] == facts["mitigations"] == facts["sharing"] == {}


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("sys/fs/cgroup/cgroup.controllers", "v2"),
        ("sys/fs/cgroup/unified/cgroup.controllers", "hybrid"),
        ("sys/fs/cgroup/memory/tasks", "v1"),
    ],
)
def test_cgroup_mode(tmp_path: Path, path: str, mode: str) -> None:
    put(tmp_path, path, "")
    assert system.cgroup_mode(str(tmp_path)) == mode


def test_kernel_settings(tmp_path: Path) -> None:
    put(tmp_path, "proc/sys/kernel/randomize_va_space", "2\n")
    put(tmp_path, "proc/sys/kernel/hostname", "secret\n")
    put(tmp_path, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    put(tmp_path, "sys/kernel/mm/ksm/run", "1\n")
    put(tmp_path, "sys/kernel/security/lsm", "capability,yama,apparmor")
    put(tmp_path, "sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n")
    root = str(tmp_path)
    assert system.sysctls(root) == {"kernel.randomize_va_space": "2"}
    assert system.sharing(root) == {"page_merging": "1", "huge_pages": "madvise"}
    assert system.security_modules(root) == ["apparmor", "capability", "yama"]
    assert system.mitigations(root) == {"meltdown": "Mitigation: PTI"}


def test_versions_of_the_runtimes() -> None:
    answer = {
        "Version": "26.1.5",
        "Components": [
            {"Name": "Engine", "Version": "26.1.5"},
            {"Name": "containerd", "Version": "1.7.24", "Details": {"GitCommit": "1.7.24"}},
            {"Name": "runc", "Version": "1.1.15+ds1", "Details": {"GitCommit": "1.1.15+ds1-2+b4"}},
        ],
    }
    assert system.runtime_versions(answer) == {
        "docker": "26.1.5",
        "containerd": "1.7.24",
        "runc": "1.1.15+ds1 (1.1.15+ds1-2+b4)",
    }
    assert system.runtime_versions({}) == {"docker": "", "containerd": "", "runc": ""}
    assert system.criu_version("Version: 4.2.1\nGitID: v4\n") == "4.2.1"
    assert system.criu_version("sh: not found") == ""


def interface(root: Path, name: str, driver: str = "", master: str = "") -> None:
    base = root / "sys/class/net" / name
    base.mkdir(parents=True)
    if driver:
        (root / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        (base / "device").mkdir()
        (base / "device/driver").symlink_to(root / "drivers" / driver)
    if master:
        (base / "master").symlink_to(root / "sys/class/net" / master)


def test_dockers_own_interfaces_are_left_out(tmp_path: Path) -> None:
    for name in ("lo", "docker0", "br-0123456789ab", "br-lan"):
        interface(tmp_path, name)
    interface(tmp_path, "eth0", driver="virtio_net")
    interface(tmp_path, "veth1a2b", master="docker0")
    put(tmp_path, "sys/class/net/bonding_masters", "")
    root = str(tmp_path)
    assert network.interfaces(root) == ["br-lan", "eth0"]
    assert network.driver(root, "eth0") == "virtio_net"
    assert network.driver(root, "br-lan") is None


def test_an_interface_without_a_driver_is_no_failure() -> None:
    # loopback has no driver that ethtool could name: its ioctl fails
    assert network.driver("/", "lo") is None


def test_subnets_without_host_routes_and_link_local_addresses() -> None:
    def address(local: str, length: int, scope: str = "global", family: str = "inet") -> dict[str, object]:
        return {"family": family, "local": local, "prefixlen": length, "scope": scope}

    links = [
        {"ifname": "eth0", "addr_info": [address("10.77.0.11", 24), address("10.88.0.100", 32)]},
        {
            "ifname": "eth1",
            "addr_info": [address("fe80::1", 64, "link", "inet6"), address("fd00::5", 64, family="inet6")],
        },
        {"ifname": "docker0", "addr_info": [address("172.20.1.1", 24)]},
    ]
    assert network.subnets(links, ["eth0", "eth1"]) == ["10.77.0.0/24", "fd00::/64"]


def test_listening_ports_that_others_can_reach(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st\n"
    put(tmp_path, "proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    put(
        tmp_path,
        "proc/net/tcp",
        head
        + "   0: 00000000:0016 00000000:0000 0A 0 0\n"  # 0.0.0.0:22 listens
        + "   1: 0100007F:0CEA 00000000:0000 0A 0 0\n"  # 127.0.0.1:3306 listens, on loopback
        + "   2: 0B004D0A:01BB 0A004D0A:D431 01 0 0\n"  # an established connection
        + "   3: 00000000:8001 00000000:0000 0A 0 0\n",  # an ephemeral port
    )
    put(
        tmp_path,
        "proc/net/tcp6",
        head
        + "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0\n"  # [::1]:80
        + "   1: 00000000000000000000000000000000:1388 00000000000000000000000000000000:0000 0A 0\n",  # [::]:5000
    )
    put(tmp_path, "proc/net/udp", head + "   0: 00000000:0043 00000000:0000 07 0 0\n")
    assert network.listening(str(tmp_path)) == ["tcp/22", "tcp/5000", "udp/67"]


def test_packages_of_dpkg() -> None:
    output = (
        "ii \tbash\t5.2.37-2\nrc \told\t1.0\nhi \tlinux-image\t6.12\nii \tlibc6:i386\t2.41\nii \tlibc6:amd64\t2.41\n"
    )
    assert services.packages("dpkg", output) == {
        "bash": "5.2.37-2",
        "libc6:amd64": "2.41",
        "libc6:i386": "2.41",
        "linux-image": "6.12",
    }


def test_packages_of_rpm_and_apk() -> None:
    output = "kernel\t0:6.12-1.x86_64\nkernel\t0:6.13-1.x86_64\nvim\t2:9.1-1.x86_64\ngpg-pubkey\t0:a-b.(none)\n"
    assert services.packages("rpm", output) == {"kernel": "6.12-1.x86_64,6.13-1.x86_64", "vim": "2:9.1-1.x86_64"}
    output = "WARNING: opening cache\nmusl-1.2.5-r0\nca-certificates-bundle-20240226-r0\npy3-pip-24.0-r2\n"
    assert services.packages("apk", output) == {
        "ca-certificates-bundle": "20240226-r0",
        "musl": "1.2.5-r0",
        "py3-pip": "24.0-r2",
    }


@pytest.mark.parametrize(
    ("path", "name"),
    [("var/lib/dpkg/status", "dpkg"), ("lib/apk/db/installed", "apk"), ("usr/lib/sysimage/rpm/rpmdb.sqlite", "rpm")],
)
def test_the_package_manager_is_the_one_with_a_database(tmp_path: Path, path: str, name: str) -> None:
    assert services.package_manager(str(tmp_path)) is None
    put(tmp_path, path, "")
    found = services.package_manager(str(tmp_path))
    assert found is not None
    assert found[0] == name


def test_services_of_systemd() -> None:
    units = ["ssh.service", "getty@tty1.service", "getty@tty2.service", "docker.service", "run-u17.service"]
    output = json.dumps([{"unit": unit, "sub": "running"} for unit in units])
    assert services.systemd_services(output) == ["docker", "getty", "ssh"]


def test_daemons_without_a_service_manager(tmp_path: Path) -> None:
    processes = {
        1: "(busybox) S 0 1 1 0",
        36: "(sshd) S 1 36 36 0",
        40: "(a (b) c) S 1 40 40 0",
        50: "(containerd-shim) S 1 50 50 0",
        60: "(bash) S 1 60 60 34816",
        70: "(python3.13) S 1 70 70 0",
        80: "(sshd-session) S 36 80 80 0",
    }
    for number, text in processes.items():
        put(tmp_path, f"proc/{number}/stat", f"{number} {text} -1 0")
    put(tmp_path, "proc/meminfo", "")
    assert services.daemons(str(tmp_path)) == ["a (b) c", "sshd"]
    assert services.openrc_services(str(tmp_path)) is None
    put(tmp_path, "run/openrc/started/sshd", "")
    assert services.openrc_services(str(tmp_path)) == ["sshd"]


def test_images_carry_the_registrys_digest() -> None:
    answer: list[dict[str, Any]] = [
        {
            "RepoTags": ["10.77.0.10:5000/web:1", "web:1"],
            "RepoDigests": ["10.77.0.10:5000/web@sha256:0123456789abcdef"],
        },
        {"RepoTags": ["<none>:<none>"], "RepoDigests": []},
        {"RepoTags": None, "RepoDigests": None},
    ]
    assert services.images(answer) == ["10.77.0.10:5000/web:1@0123456789ab", "web:1"]
