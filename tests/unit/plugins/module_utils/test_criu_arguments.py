# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRIU's command lines and the facts they are made of."""

from __future__ import annotations

import json

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _criu

# A container of Docker 26 on cgroup v1, shortened; the columns are those of proc_pid_mountinfo(5)
MOUNTINFO = r"""
213 92 0:51 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
214 213 0:55 / /proc rw,nosuid - proc proc rw
215 213 0:56 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k
216 215 0:57 / /dev/pts rw - devpts devpts rw,gid=5
217 213 0:58 / /sys ro - sysfs sysfs ro
218 217 0:59 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
219 218 0:33 /docker/c0ffee /sys/fs/cgroup/freezer ro master:9 - cgroup freezer rw,freezer
220 215 0:60 / /dev/shm rw - tmpfs shm rw,size=65536k
221 213 254:1 /var/lib/docker/containers/c0ffee/resolv.conf /etc/resolv.conf rw - ext4 /dev/root rw
222 213 254:1 /srv/my\040data /data rw - ext4 /dev/root rw
223 214 0:55 /bus /proc/bus ro - proc proc rw
224 214 0:61 / /proc/acpi ro - tmpfs tmpfs ro
225 214 0:56 /null /proc/kcore rw - tmpfs tmpfs rw,size=65536k
226 213 254:2 / /disk rw - ext4 /dev/vdb rw
""".strip()
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/nosuch"]


def test_externals_are_what_the_runtime_makes_anew() -> None:
    """Binds, cgroups and hidden paths are external; the container's own file systems are not."""
    assert _criu.mount_externals(MOUNTINFO, MASKED) == [
        "mnt[/sys/fs/cgroup/freezer]:/sys/fs/cgroup/freezer",
        "mnt[/etc/resolv.conf]:/etc/resolv.conf",
        "mnt[/data]:/data",
        "mnt[/proc/acpi]:/proc/acpi",
        "mnt[/proc/kcore]:/dev/null",
    ]


def test_a_whole_file_system_is_external_only_if_the_bundle_says_so() -> None:
    """Mountinfo cannot tell a bind of a whole disk from the container's own; the bundle can."""
    assert "mnt[/disk]:/disk" not in _criu.mount_externals(MOUNTINFO, MASKED)
    assert "mnt[/disk]:/disk" in _criu.mount_externals(MOUNTINFO, MASKED, binds=["/disk"])


def test_a_private_cgroup_namespace_has_real_mounts() -> None:
    """CRIU dumps those itself."""
    assert not any("cgroup" in entry for entry in _criu.mount_externals(MOUNTINFO, MASKED, private_cgroups=True))


def test_masked_directories_are_those_a_restore_must_replace() -> None:
    """Files come from /dev/null, which runc maps; directories from whoever restores."""
    assert _criu.masked_directories(_criu.mount_externals(MOUNTINFO, MASKED), MASKED) == ["/proc/acpi"]


def test_the_containers_own_file_systems_in_memory() -> None:
    """Whole, and mounted once by the container itself: a hidden file that is a piece of /dev does not count."""
    externals = _criu.mount_externals(MOUNTINFO, MASKED)
    found = _criu.memory_mounts(MOUNTINFO, externals)
    assert [(mount.point, mount.source) for mount in found] == [
        ("/dev", "tmpfs"),
        ("/sys/fs/cgroup", "tmpfs"),
        ("/dev/shm", "shm"),
    ]
    assert _criu.memory_externals(found)[2] == "mnt[/dev/shm]:/dev/shm"


@pytest.mark.parametrize(
    "more",
    [
        "230 220 0:60 / /shm rw - tmpfs shm rw",  # the same once more, elsewhere
        "230 220 0:60 /part /shm rw - tmpfs shm rw",  # a piece of it
        "230 220 0:62 / /dev/shm rw - tmpfs shm rw",  # another on top of it
    ],
)
def test_a_file_system_in_memory_that_is_not_simple_is_left_to_criu(more: str) -> None:
    """It knows what belongs together."""
    mountinfo = f"{MOUNTINFO}\n{more}"
    found = _criu.memory_mounts(mountinfo, _criu.mount_externals(mountinfo, MASKED))
    assert [mount.point for mount in found] == ["/dev", "/sys/fs/cgroup"]


def test_mountinfo_escapes_are_undone() -> None:
    """A blank in a path is \\040 there."""
    assert _criu.parse_mountinfo(MOUNTINFO)[9].root == "/srv/my data"


def test_mountinfo_without_separator_is_refused() -> None:
    """A line of another file is not guessed at."""
    with pytest.raises(ValueError, match="not a line of mountinfo"):
        _criu.parse_mountinfo("/dev/root / ext4 rw 0 0")


def test_bundle_tells_binds_masks_and_cgroups() -> None:
    """The three things a dump wants to know of config.json, and their absence."""
    config = {
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "/etc/hosts", "type": "bind", "options": ["rbind"]},
            {"destination": "/data", "type": "none", "options": ["rbind", "ro"]},
        ],
        "linux": {"maskedPaths": ["/proc/kcore"], "namespaces": [{"type": "cgroup"}]},
    }
    assert _criu.bundle_binds(config) == ["/etc/hosts", "/data"]
    assert _criu.bundle_masked(config) == ["/proc/kcore"]
    assert _criu.bundle_private_cgroups(config)
    assert (_criu.bundle_binds({}), _criu.bundle_masked({}), _criu.bundle_private_cgroups({})) == ([], [], False)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "expected"),
    [
        (
            "9:freezer:/docker/c0ffee\n0::/",
            "30 1 0:33 / /sys/fs/cgroup/freezer rw - cgroup freezer rw,freezer",
            _criu.Freezer("/sys/fs/cgroup/freezer/docker/c0ffee", 1),
        ),
        (
            "9:cpu,freezer:/lxc/h1/docker/c0ffee",
            "30 1 0:33 /lxc/h1 /sys/fs/cgroup/freezer rw - cgroup freezer rw,freezer",
            _criu.Freezer("/sys/fs/cgroup/freezer/docker/c0ffee", 1),
        ),
        (
            "0::/system.slice/docker-c0ffee.scope",
            "30 1 0:33 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            _criu.Freezer("/sys/fs/cgroup/system.slice/docker-c0ffee.scope", 2),
        ),
    ],
    ids=["v1", "v1 in a system container", "v2"],
)
def test_freezer_is_found(cgroup: str, mountinfo: str, expected: _criu.Freezer) -> None:
    """By the caller's mounts, whichever version."""
    assert _criu.freezer(cgroup, mountinfo) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/docker/c0ffee/init", "/docker/c0ffee"),
        ("/system.slice/docker-c0ffee.scope/a/b", "/system.slice/docker-c0ffee.scope"),
        ("/docker/c0ffee", "/docker/c0ffee"),
        ("/elsewhere/deep", "/elsewhere/deep"),
    ],
)
def test_an_init_that_has_moved_below_its_container_is_frozen_with_the_whole_of_it(path: str, expected: str) -> None:
    """The cgroup that Docker has named is meant; without its name in the path, the process's own."""
    mountinfo = "30 1 0:33 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
    assert _criu.freezer(f"0::{path}", mountinfo, "c0ffee") == _criu.Freezer("/sys/fs/cgroup" + expected, 2)


def test_no_freezer_is_said() -> None:
    """A host whose freezer is not mounted cannot freeze."""
    with pytest.raises(ValueError, match="no freezer cgroup"):
        _criu.freezer("9:cpu:/x", "30 1 0:33 / /sys/fs/cgroup/cpu rw - cgroup cpu rw,cpu")


def test_dump_of_a_container() -> None:
    """The options that were measured to be the fastest that are safe while packets are held elsewhere."""
    command = _criu.dump_command(
        42, "/i", "/w", root="/r", externals=["mnt[/a]:/a"], freeze_cgroup="/f", net_inode=7, skip_in_flight=True
    )
    assert command == [
        *["criu", "dump", "--tree", "42", "--images-dir", "/i", "--work-dir", "/w", "--log-file", "dump.log", "-v1"],
        *[
            "--network-lock",
            "skip",
            "--ext-unix-sk",
            "--file-locks",
            "--manage-cgroups=soft",
            "--timeout",
            "2",
            "--ghost-limit",
            "67108864",
        ],
        *["--root", "/r", "--tcp-established", "--leave-running", "--freeze-cgroup", "/f", "--skip-in-flight"],
        *["--external", "mnt[/a]:/a", "--external", "net[7]:extRootNetNS"],
    ]


def test_rounds_of_pre_copy_and_the_dump_that_builds_on_them() -> None:
    """Each names the one before, the first none; CRIU is not given the container's cgroup."""
    first = _criu.pre_dump_command(42, "/i/round-1", "/w")
    assert first == [
        *["criu", "pre-dump", "--tree", "42", "--images-dir", "/i/round-1", "--work-dir", "/w"],
        *["--log-file", "pre-dump.log", "-v1", "--track-mem", "--timeout", "2"],
    ]
    second = _criu.pre_dump_command(42, "/i/round-2", "/w", "../round-1")
    assert second[-2:] == ["--prev-images-dir", "../round-1"]
    dump = _criu.dump_command(42, "/i", "/w", freeze_cgroup="/f", previous="round-2")
    start = dump.index("--track-mem")
    assert dump[start : start + 3] == ["--track-mem", "--prev-images-dir", "round-2"]
    assert "--track-mem" not in _criu.dump_command(42, "/i", "/w")


def test_restores() -> None:
    """A bare tree by criu; a container by runc, under its own runtime root if one is named."""
    assert _criu.restore_command("/i", "/w", "/p", tcp_established=False, shell_job=True)[-1] == "--shell-job"
    command = _criu.runc_restore_command("copy", "/b", "/i", "/w", "/p", runtime_root="/run/x")
    assert command[:4] == ["runc", "--root", "/run/x", "restore"] and command[-2:] == ["--tcp-established", "copy"]


def test_descriptors_are_runcs() -> None:
    """A JSON list of link texts."""
    assert json.loads(_criu.descriptors(["/dev/null", "pipe:[1]", "pipe:[2]"])) == ["/dev/null", "pipe:[1]", "pipe:[2]"]


@pytest.mark.parametrize(
    ("kernel", "criu", "tcp", "problem"),
    [
        ("6.1.0-18-amd64", "Version: 3.17.1", True, None),
        ("6.12.30", "Version: 3.17.1", True, None),
        ("6.13.0", "Version: 4.0", True, "CRIU 4.0 is too old for kernel 6.13.0: the vdso"),
        ("6.13.0", "Version: 4.1", True, None),
        ("6.16.1", "Version: 4.1.1", True, "CRIU 4.1.1 is too old for kernel 6.16.1: SO_PASSCRED"),
        ("6.16.1", "Version: 4.1.1", False, None),
        ("6.18.44-x", "Version: 4.2.1\nGitID: v4.2.1", True, None),
        ("7.0", "Version: 4.2", True, None),
    ],
)
def test_versions(kernel: str, criu: str, tcp: bool, problem: str | None) -> None:
    """Each boundary of the table, from both sides."""
    found = _criu.version_problem(kernel, criu, tcp)
    assert (found is None) if problem is None else (found is not None and found.startswith(problem))


def test_a_version_that_is_none_is_said() -> None:
    """No guess is made."""
    with pytest.raises(ValueError, match="no version number in 'criu: not found'"):
        _criu.version_tuple("criu: not found\n")
