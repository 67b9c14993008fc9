# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRIU's command lines and the facts they are made of, as pure functions.

Nothing here reads a file, starts a program or knows Ansible: text goes in, lists of arguments come out. The modules
use it on the target, and a copy of this very file is installed beside the proxy, under this very name, so
that a dump made by ``criu_dump`` and one made in a cutover cannot drift apart. Standard library only, Python 3.9.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel

# The name runc looks for in the image when the bundle's network namespace has a path: it then puts the restored tasks
# into that namespace (libcontainer/criu_linux.go, handleRestoringNamespaces).
NETWORK_NAMESPACE_KEY = "extRootNetNS"

# What runc calls the source of every masked file, at dump and at restore (libcontainer/criu_linux.go, addMaskPaths).
MASKED_FILE_KEY = "/dev/null"

#: For how long CRIU tries to take hold of all tasks; by itself it would do so for ten seconds, in which they stand still.
COLLECT_LIMIT = ("--timeout", "2")
#: Where Docker binds the program of ``--init``, and what the mount is called from dump to restore: what runc would offer for
#: it is the destination's own program, which may be another version, and a symbolic link, which CRIU cannot bind.
INIT = "/sbin/docker-init"
INIT_KEY = "docker-init"

# CRIU refuses deleted files above 1 MiB unless told otherwise; temporary files of databases are larger.
GHOST_LIMIT = 64 << 20

# (kernel from, TCP sockets involved, CRIU from, why). First match wins.
_KERNEL_NEEDS = (
    ((6, 16), True, (4, 2), "SO_PASSCRED is refused on TCP sockets"),
    ((6, 13), False, (4, 1), "the vdso has grown beyond what older versions parse"),
)


class Mount(NamedTuple):
    """One line of ``/proc/PID/mountinfo`` (proc_pid_mountinfo(5)), octal escapes undone."""

    device: str  # "major:minor"
    root: str  # the part of the file system that is mounted
    point: str
    fstype: str
    super_options: tuple[str, ...]
    source: str = ""


class Freezer(NamedTuple):
    """The cgroup directory that freezes a container, and which of the two interfaces it has (1 or 2)."""

    directory: str
    version: int


#: What a mount point may be called. No blank and no quote, no control character, and no bracket: those end a name for CRIU.
#: Nor bytes that are no UTF-8 (halves of surrogate pairs here).
SPEAKABLE = re.compile(r"""/[^\s\\"'#\[\]\x00-\x1f\x7f\ud800-\udfff]*""")


def version_tuple(text: str) -> tuple[int, ...]:
    """Return the leading ``major.minor[.patch]`` of a version, a kernel release or ``criu --version``'s output.

    :raises ValueError: no number of that form in the text.
    """
    found = re.search(r"(\d+(?:\.\d+)+)", text)
    if not found:
        raise ValueError(f"no version number in {text.strip()!r}")
    return tuple(int(part) for part in found.group(1).split("."))


def version_problem(kernel: str, criu: str, tcp: bool = True) -> str | None:
    """Return why this CRIU cannot serve on this kernel, as a clause of a sentence, or None if it can.

    :param kernel: release, as in ``uname -r``.
    :param criu: version, as in ``criu --version``.
    :param tcp: whether containers with TCP sockets are to be dumped.
    """
    for kernel_from, needs_tcp, criu_from, why in _KERNEL_NEEDS:
        if version_tuple(kernel) >= kernel_from and (tcp or not needs_tcp):
            if version_tuple(criu) < criu_from:
                have, want = ".".join(map(str, version_tuple(criu))), ".".join(map(str, criu_from))
                return f"CRIU {have} is too old for kernel {kernel}: {why}; install CRIU {want} or newer"
            return None
    return None


def unescape(field: str) -> str:
    """Undo the octal escapes of proc_pid_mountinfo(5): a path may have spaces."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts of a ``/proc/PID/mountinfo``, in its order.

    :raises ValueError: a line that is none of mountinfo.
    """
    mounts = []
    for line in _kernel.lines(text):
        left, dash, right = line.partition(" - ")
        head, tail = left.split(" "), right.split(" ")  # a source may be empty
        if not dash or len(head) < 6 or len(tail) != 3:
            raise ValueError(f"not a line of mountinfo: {line!r}")
        options = tuple(tail[2].split(","))
        mounts.append(Mount(head[2], unescape(head[3]), unescape(head[4]), tail[0], options, unescape(tail[1])))
    return mounts


def bundle_binds(config: Mapping[str, Any]) -> list[str]:
    """Return the destinations that an OCI ``config.json`` bind-mounts (``/etc/hosts`` … and every volume), in order."""
    return [
        mount["destination"]
        for mount in config.get("mounts") or []
        if mount.get("type") == "bind" or {"bind", "rbind"} & set(mount.get("options") or [])
    ]


def bundle_masked(config: Mapping[str, Any]) -> list[str]:
    """Return the paths that an OCI ``config.json`` hides from the container (Docker 28 hides more of them than 26)."""
    return list((config.get("linux") or {}).get("maskedPaths") or [])


def bundle_private_cgroups(config: Mapping[str, Any]) -> bool:
    """Return whether an OCI ``config.json`` gives the container a cgroup namespace of its own."""
    return any(namespace.get("type") == "cgroup" for namespace in (config.get("linux") or {}).get("namespaces") or [])


def mount_externals(
    mountinfo_text: str,
    masked_paths: Iterable[str] = (),
    binds: Iterable[str] = (),
    private_cgroups: bool = False,
) -> list[str]:
    """Return the ``mnt[POINT]:KEY`` of every mount that CRIU is not to dump because the runtime makes it anew.

    The keys are those that ``runc restore`` answers to, plus one per masked directory (``/proc/acpi`` …): CRIU would
    otherwise fork tar, sh and gzip for each of those empty tmpfs, 5 to 12 ms apiece. Whoever restores must map these
    keys (:func:`masked_directories`).

    :param mountinfo_text: ``/proc/PID/mountinfo`` of the container's init.
    :param masked_paths: of the bundle (:func:`bundle_masked`).
    :param binds: destinations bind-mounted by the bundle (:func:`bundle_binds`); binds that only mountinfo shows are
        recognised by a root of their own on a file system that is nowhere mounted whole in the container.
    :param private_cgroups: the container has its own cgroup namespace: its cgroup mounts are real, and CRIU dumps them.
    """
    mounts = parse_mountinfo(mountinfo_text)
    masked, declared = set(masked_paths), set(binds)
    whole = {mount.device for mount in mounts if mount.root == "/"}
    externals = []
    for mount in mounts:
        if mount.point == "/":
            continue
        if mount.point in masked:
            key = mount.point if mount.fstype == "tmpfs" and mount.root == "/" else MASKED_FILE_KEY
        elif mount.fstype == "cgroup":
            if private_cgroups:
                continue
            key = mount.point
        elif mount.fstype == "cgroup2":
            continue
        elif mount.point in declared or (mount.root != "/" and mount.device not in whole):
            key = mount.point
        else:
            continue
        entry = f"mnt[{mount.point}]:{key}"
        if entry not in externals:  # a mount may be stacked on another at the same place
            externals.append(entry)
    return externals


def memory_mounts(mountinfo_text: str, externals: Iterable[str]) -> list[Mount]:
    """Return the tmpfs mounts of a container that are its own, whole, and mounted once: ``/dev``, ``/dev/shm`` …

    CRIU forks tar, sh and gzip for each, at the dump and at the restore: 5 to 9 ms apiece. Whoever carries their contents
    otherwise may declare them external (:func:`memory_externals`).

    :param mountinfo_text: ``/proc/PID/mountinfo`` of the container's init.
    :param externals: what :func:`mount_externals` returned; what is in there is not the container's own.
    """
    foreign = {entry.partition("[")[2].partition("]:")[0] for entry in externals}
    mounts = [mount for mount in parse_mountinfo(mountinfo_text) if mount.point not in foreign]
    devices, points = [mount.device for mount in mounts], [mount.point for mount in mounts]
    return [
        mount
        for mount in mounts
        if mount.fstype == "tmpfs"
        and mount.root == "/"
        and mount.point != "/"
        and devices.count(mount.device) == points.count(mount.point) == 1
    ]


def refuse_unspeakable(names: Iterable[str]) -> None:
    """Check that names of mount points can be written into a configuration of CRIU, which is read by lines and words.

    A container can give its mount points any name; ``libdir`` and ``action-script`` are options of that file as well.

    :raises ValueError: one cannot.
    """
    for name in names:
        if not SPEAKABLE.fullmatch(name):
            raise ValueError(
                f"something is mounted in the container at {name!r}, a name that cannot be carried: unmount it"
            )


def memory_externals(mounts: Iterable[Mount]) -> list[str]:
    """Return the externals for :func:`memory_mounts`; the restore must map each mount point's own name."""
    return [f"mnt[{mount.point}]:{mount.point}" for mount in mounts]


def masked_directories(externals: Iterable[str], masked_paths: Iterable[str]) -> list[str]:
    """Return the masked directories among externals: the keys for which a restore must offer an empty directory."""
    masked = set(masked_paths)
    keys = (entry.partition("]:")[2] for entry in externals)
    return [key for key in keys if key in masked]


def network_external(inode: int) -> str:
    """Return the external that leaves a network namespace out of the image and lets runc put in another at restore."""
    return f"net[{inode}]:{NETWORK_NAMESPACE_KEY}"


def descriptors(links: Sequence[str]) -> str:
    """Return runc's ``descriptors.json``: the link texts of the init's descriptors 0 to 2 (``pipe:[42]`` …).

    runc finds the pipes of a restored container's standard streams by these texts and plugs the new ones in.
    """
    return json.dumps(list(links))


def control_directory(
    cgroup_text: str, mountinfo_text: str, controller: str, version: int, container_id: str = ""
) -> str | None:
    """Return the directory of a process's cgroup in the hierarchy of a controller; None if that is not mounted here.

    :param controller: "" for the one hierarchy of ``version`` 2. The other parameters are those of :func:`freezer`.
    """
    paths = {}
    for line in _kernel.lines(cgroup_text):
        _number, controllers, path = line.split(":", 2)
        above, found, rest = path.partition(container_id) if container_id else (path, "", "")
        path = above + found + rest.partition("/")[0]  # its name may go on: docker-ID.scope
        for each in controllers.split(","):
            paths[each] = path
    if controller not in paths:
        return None
    for mount in parse_mountinfo(mountinfo_text):
        if mount.fstype != {1: "cgroup", 2: "cgroup2"}[version]:
            continue
        if version == 1 and controller not in mount.super_options:
            continue
        # in a system container a hierarchy may be mounted from the container's own cgroup on
        inner = paths[controller]
        if mount.root != "/" and (inner + "/").startswith(mount.root.rstrip("/") + "/"):
            inner = inner[len(mount.root) :]
        return (mount.point + inner).rstrip("/")
    return None


def freezer(cgroup_text: str, mountinfo_text: str, container_id: str = "") -> Freezer:
    """Return the freezer of a process.

    :param cgroup_text: ``/proc/PID/cgroup``.
    :param mountinfo_text: mountinfo of the *caller*, which says where its cgroup hierarchies are mounted.
    :param container_id: if it is in the path, the cgroup that is named so is meant, and none below it.
    :raises ValueError: the process has no freezer that is mounted here.
    """
    for name, version in (("freezer", 1), ("", 2)):
        directory = control_directory(cgroup_text, mountinfo_text, name, version, container_id)
        if directory is not None:
            return Freezer(directory, version)
    raise ValueError("the process is in no freezer cgroup that is mounted on this host")


def dump_command(
    pid: int,
    images: str,
    work: str,
    root: str | None = None,
    externals: Iterable[str] = (),
    freeze_cgroup: str | None = None,
    net_inode: int | None = None,
    leave_running: bool = True,
    ghost_limit: int = GHOST_LIMIT,
    log_level: int = 1,
    skip_in_flight: bool = False,
    tcp_established: bool = True,
    tcp_close: bool = False,
    network_lock: str = "skip",
    shell_job: bool = False,
    manage_cgroups: str = "soft",
    previous: str | None = None,
    scan_paths: Iterable[str] = (),
    link_remap: bool = False,
    criu: str = "criu",
) -> list[str]:
    """Return the ``criu dump`` of a process tree.

    :param pid: its root, as seen by the caller.
    :param images: directory the image files go to; it exists.
    :param work: directory of the log ``dump.log``; it exists.
    :param root: root file system of a container, as its bundle's ``config.json`` names it; None for a bare process.
    :param externals: what :func:`mount_externals` returned.
    :param freeze_cgroup: directory of the freezer, frozen already: CRIU, finding FROZEN, spares itself its 100 ms
        polls, thaws for its parasite and, with ``leave_running``, freezes again.
    :param net_inode: of the network namespace to leave out; None leaves it in.
    :param leave_running: the dumped tasks stay as they were (frozen ones stay frozen); otherwise they are killed.
    :param ghost_limit: bytes of an open but deleted file that still go into the image.
    :param network_lock: ``skip`` is right only while packets are kept away by someone else; else ``iptables`` or
        ``nftables``.
    :param skip_in_flight: leave half-open incoming connections out instead of failing.
    :param tcp_close: leave the connections alone, and have them closed in the image: CRIU must know this of a dump.
    :param shell_job: the tree's terminal belongs to a session outside it.
    :param manage_cgroups: ``ignore`` where whoever restores puts the tasks into their cgroups himself.
    :param previous: directory of the last pre-dump, relative to ``images``: only memory written since is dumped.
    :param scan_paths: where to look for what inotify watches and cannot be opened otherwise.
    :param link_remap: let CRIU make a link for an open file whose name was removed while it has another; whoever restores
        must have that link.
    """
    command = [criu, "dump", "--tree", str(pid), "--images-dir", images, "--work-dir", work]
    command += ["--log-file", "dump.log", f"-v{log_level}", "--network-lock", network_lock]
    command += ["--ext-unix-sk", "--file-locks", f"--manage-cgroups={manage_cgroups}", *COLLECT_LIMIT]
    command += ["--ghost-limit", str(ghost_limit)]
    if root is not None:
        command += ["--root", root]
    if tcp_close:
        command.append("--tcp-close")
    elif tcp_established:
        command.append("--tcp-established")
    if leave_running:
        command.append("--leave-running")
    if freeze_cgroup is not None:
        command += ["--freeze-cgroup", freeze_cgroup]
    if shell_job:
        command.append("--shell-job")
    if skip_in_flight:
        command.append("--skip-in-flight")
    if previous is not None:
        command += ["--track-mem", "--prev-images-dir", previous]
    if link_remap:
        command.append("--link-remap")
    for path in scan_paths:
        command += ["--irmap-scan-path", path]
    for external in externals:
        command += ["--external", external]
    if net_inode is not None:
        command += ["--external", network_external(net_inode)]
    return command


def pre_dump_command(pid: int, images: str, work: str, previous: str | None = None, criu: str = "criu") -> list[str]:
    """Return the ``criu pre-dump`` of a process tree: its memory, or what was written since the ``previous`` one.

    It is left running. CRIU stops the tasks itself, through ptrace: asked to use their cgroup, it would freeze it again, if we
    had, while it writes, and look in steps of 100 ms, if we had not.

    :param pid: its root. :param images: directory of this pre-dump; it exists. :param work: of the log ``pre-dump.log``.
    :param previous: directory of the one before, relative to ``images``.
    """
    command = [criu, "pre-dump", "--tree", str(pid), "--images-dir", images, "--work-dir", work]
    command += ["--log-file", "pre-dump.log", "-v1", "--track-mem", *COLLECT_LIMIT]
    if previous is not None:
        command += ["--prev-images-dir", previous]
    return command


def restore_command(
    images: str,
    work: str,
    pidfile: str,
    tcp_established: bool = True,
    shell_job: bool = False,
    log_level: int = 1,
    criu: str = "criu",
) -> list[str]:
    """Return the ``criu restore`` of a bare process tree, detached; its root's pid is written to ``pidfile``."""
    command = [criu, "restore", "--images-dir", images, "--work-dir", work, "--log-file", "restore.log"]
    command += [f"-v{log_level}", "--restore-detached", "--pidfile", pidfile]
    command += ["--ext-unix-sk", "--file-locks", "--manage-cgroups=soft"]
    if tcp_established:
        command.append("--tcp-established")
    if shell_job:
        command.append("--shell-job")
    return command


def runc_restore_command(
    identifier: str,
    bundle: str,
    images: str,
    work: str,
    pidfile: str,
    tcp_established: bool = True,
    runtime_root: str | None = None,
    runc: str = "runc",
) -> list[str]:
    """Return the ``runc restore`` of a container's image into an OCI bundle, detached, under a name of its own."""
    command = [runc] if runtime_root is None else [runc, "--root", runtime_root]
    command += ["restore", "--detach", "--image-path", images, "--work-path", work, "--pid-file", pidfile]
    command += ["--bundle", bundle, "--ext-unix-sk", "--file-locks", "--manage-cgroups-mode", "soft"]
    if tcp_established:
        command.append("--tcp-established")
    return [*command, identifier]
