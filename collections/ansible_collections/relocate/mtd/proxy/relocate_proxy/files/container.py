# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running container as the source sees it: where its parts lie, and the document from which it can be made elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import struct
from collections.abc import Callable, Iterable
from collections.abc import Container as Collection
from functools import partial

from ansible_collections.relocate.mtd.plugins.module_utils import (
    _binds,
    _bundle,
    _criu,
    _kernel,
    _unix_files,
    _volumes,
)
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, own_addresses
from ansible_collections.relocate.mtd.plugins.module_utils._freezer import freezer_of, members

from ..host import syscalls
from ..network.conntrack import Endpoint
from ..network.flows import Connection, is_inner
from ..protocol.addresses import Addresses
from ..protocol.words import shown
from . import tmpfs
from .log_formats import FORMATS, Format
from .trees import EveryInode, Tree, upper_directory
from .watches import Watches

#: Where runc keeps the state of Docker's containers (the same on 26 and 28).
RUNTIME_ROOT = "/run/docker/runtime-runc/moby"
PROC = "/proc"
ENDPOINT = re.compile("([0-9A-Fa-f]{8}|[0-9A-Fa-f]{32}):([0-9A-Fa-f]{4})")
#: <net/tcp_states.h>
SYN_RECEIVED, LISTEN = 3, 10
LAST_WORDS = (4, 9, 11)  # FIN_WAIT1, LAST_ACK, CLOSING
PATIENCE = 3  # times that the kernel has sent something again; then its peer is taken to be gone
CONNECTED = (1, 2, 4, 5, 8, 9, 11)  # ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING


def _socket_table(pid: int, name: str) -> list[list[str]]:
    try:
        with open(f"/proc/{pid}/net/{name}", encoding="ascii") as lines:
            return [line.split() for line in lines.readlines()[1:]]
    except FileNotFoundError:  # no IPv6 in the kernel
        return []


def _endpoint(text: str) -> Endpoint:
    """Decode ``0100007F:1F90`` of /proc/net/tcp{,6}: words in host byte order. :raises ValueError: it is none."""
    found = ENDPOINT.fullmatch(text)
    if not found:
        raise ValueError(f"an address in the kernel's table of sockets cannot be read: {shown(text)}")
    address, port = found.groups()
    packed = b"".join(struct.pack("=I", int(address[i : i + 8], 16)) for i in range(0, len(address), 8))
    if len(packed) == 16 and packed.startswith(b"\0" * 10 + b"\xff\xff"):
        packed = packed[12:]
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return Endpoint(socket.inet_ntop(family, packed), int(port, 16))


def _mapped_paths(pid: int) -> set[str]:
    """Return the files that a process has mapped, shared and for writing, relative to its root directory."""
    try:
        text = _kernel.read_text(f"{PROC}/{pid}/maps")
    except (FileNotFoundError, ProcessLookupError):
        return set()
    fields = (line.split(" ", 5) for line in _kernel.lines(text))  # the name is padded with blanks
    shared = (each[5].lstrip(" ") for each in fields if len(each) == 6 and each[1][1:2] == "w" and each[1][3:4] == "s")
    return {path.replace("\\012", "\n").lstrip("/") for path in shared if path.startswith("/")}


class Container:
    """A running container on this host.

    :raises LookupError: there is none of that name, or it does not run.
    """

    def __init__(self, docker: DockerClient, name: str) -> None:
        self.docker = docker
        inspect = docker.container(name)
        if inspect is None or not inspect["State"]["Running"]:
            raise LookupError(f"the container {name} is not running here any more: it was moved or stopped meanwhile")
        self.inspect: dict = inspect
        self.id: str = self.inspect["Id"]
        self.name: str = self.inspect["Name"].lstrip("/")
        self.pid: int = self.inspect["State"]["Pid"]
        self.bundle = _bundle.config_of(self.id)
        self.root: str = self.bundle["root"]["path"]
        self.freezer = freezer_of(self.pid, self.id)
        self.network = f"/proc/{self.pid}/ns/net"
        self._foreign: set[str] = set()  # inodes of sockets in its network that none of its processes has

    @property
    def addresses(self) -> Addresses:
        """The container's addresses on the first network where it has one. :raises LookupError: it has none."""
        found = Addresses(*own_addresses(self.inspect))
        if not found.ip4:
            raise LookupError(f"the container {self.name} has no address")
        return found

    @property
    def hostname(self) -> str:
        """What Docker has written into ``/etc/hostname``."""
        config = self.inspect["Config"]
        return ".".join(filter(None, (config.get("Hostname"), config.get("Domainname"))))

    @property
    def init_program(self) -> str | None:
        """The program that ``--init`` has put into the container, as this host sees it.

        It is the one that the first process runs. The container's own path may lead anywhere by now: who owns ``/sbin`` may put
        a link there.
        """
        return f"{PROC}/{self.pid}/exe" if _criu.INIT in _criu.bundle_binds(self.bundle) else None

    @property
    def log(self) -> tuple[str | None, Format]:
        """Docker's own log file of the container, if its log driver keeps one on this host, and what it looks like."""
        form = FORMATS.get(self.inspect["HostConfig"]["LogConfig"]["Type"])
        if form is None:
            return None, FORMATS["json-file"]
        path = f"{self.docker.info()['DockerRootDir']}/containers/{self.id}/{form.path(self.id)}"
        return (path if os.path.exists(path) else None), form

    def memory_bytes(self) -> int:
        """Resident memory of all tasks: what a full copy has to carry, shared pages counted once per task."""
        total = 0
        for line in self._processes():
            try:
                with open(f"/proc/{line}/statm", encoding="ascii") as statm:
                    total += int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            except (FileNotFoundError, ProcessLookupError):
                continue
        return total

    def _processes(self) -> list[int]:
        return members(self.freezer)

    def connections(self) -> list[Connection]:
        """Return the connections of the container's network namespace: TCP, those that it begins or that are half-closed among
        them, and connected UDP.
        """
        found = []
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for fields in _socket_table(self.pid, table):
                if int(fields[3], 16) in CONNECTED:
                    found.append(Connection(table[:3], _endpoint(fields[1]), _endpoint(fields[2])))
        return found

    def listening(self) -> set[int]:
        """Return the TCP ports on which the container accepts connections."""
        return {
            _endpoint(fields[1]).port
            for table in ("tcp", "tcp6")
            for fields in _socket_table(self.pid, table)
            if int(fields[3], 16) == LISTEN
        }

    def published(self) -> dict[tuple[str, int], set[int]]:
        """Return the ports of the host that lead to the container, by protocol and port there."""
        found: dict[tuple[str, int], set[int]] = {}
        for name, places in (self.inspect["NetworkSettings"].get("Ports") or {}).items():
            port, _, protocol = name.partition("/")
            for place in places or []:
                found.setdefault((protocol, int(port)), set()).add(int(place["HostPort"]))
        return found

    def visits(self) -> int:
        """Return how many TCP connections others have opened to the container's published ports and that are not over yet."""
        published = {port for protocol, port in self.published() if protocol == "tcp"}
        return sum(
            each.protocol == "tcp" and each.local.port in published and not is_inner(each, self.addresses)
            for each in self.connections()
        ) + self._half_open_at(published)

    def _half_open_at(self, ports: Collection[int]) -> int:
        return sum(
            int(fields[3], 16) == SYN_RECEIVED and int(fields[1].rpartition(":")[2], 16) in ports
            for table in ("tcp", "tcp6")
            for fields in _socket_table(self.pid, table)
        )

    def half_open(self) -> int:
        """Return how many connections are between SYN and ``accept``: CRIU cannot carry those."""
        count = 0
        for table in ("tcp", "tcp6"):
            for fields in _socket_table(self.pid, table):
                state = int(fields[3], 16)
                if state == SYN_RECEIVED:
                    count += 1
                elif state == LISTEN:  # rx_queue of a listener: connections nobody has accepted yet
                    count += int(fields[4].partition(":")[2], 16)
        return count

    def undelivered(self) -> int:
        """Return how many connections that no process has any more have still something on its way to the peer.

        A program may write an answer and close the socket at once: the kernel delivers it. CRIU sees the sockets of processes.
        """
        return sum(
            int(fields[3], 16) in LAST_WORDS
            and fields[9] == "0"  # no inode
            and int(fields[4].partition(":")[0], 16) > 0
            and int(fields[6], 16) < PATIENCE
            for table in ("tcp", "tcp6")
            for fields in _socket_table(self.pid, table)
        )

    def unread_datagrams(self) -> int:
        """Return how many bytes wait in UDP sockets to be read: CRIU does not carry them."""
        return sum(
            int(fields[4].partition(":")[2], 16)
            for table in ("udp", "udp6")
            for fields in _socket_table(self.pid, table)
        )

    def unread_netlink(self) -> int:
        """Return how many bytes of the kernel's messages wait in netlink sockets to be read: CRIU dumps no such socket.

        Docker's daemon keeps one of its own in the container's network, and does not always read it.
        """
        unread = {fields[9]: int(fields[4]) for fields in _socket_table(self.pid, "netlink") if fields[4] != "0"}
        for inode in unread.keys() - self._foreign:
            if not self._has_socket(inode):
                self._foreign.add(inode)
        return sum(size for inode, size in unread.items() if inode not in self._foreign)

    def _has_socket(self, inode: str) -> bool:
        """Return whether a process of the container has a socket."""
        for pid in self._processes():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for entry in os.scandir(f"{PROC}/{pid}/fd"):
                    with contextlib.suppress(FileNotFoundError):
                        if os.readlink(entry.path) == f"socket:[{inode}]":
                            return True
        return False

    def binds_unix_sockets(self) -> bool:
        """Return whether there are unix sockets that are bound to a path, whoever has them."""
        return bool(_unix_files.bound_inodes(_kernel.read_text(f"{PROC}/{self.pid}/net/unix")))

    def visitors(self) -> list[int]:
        """Return the processes that ``docker exec`` or a health check has started: their parent is outside, and stays there."""
        parents = {}
        for pid in self._processes():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{PROC}/{pid}/stat", "rb") as file:
                parents[pid] = int(file.read().rpartition(b")")[2].split()[1])
        return [pid for pid, parent in parents.items() if parent not in parents and pid != self.pid]

    def find_watches(self) -> Watches:
        """Return what the container watches with inotify. :raises Unfollowable: a watch cannot be carried."""
        return Watches(self._processes(), f"{PROC}/{self.pid}/root", _criu.parse_mountinfo(self._mountinfo()))

    def dump_command(
        self,
        images: str,
        work: str,
        plain_cgroups: bool,
        previous: str | None = None,
        scan_paths: Iterable[str] = (),
        tcp_close: bool = False,
    ) -> list[str]:
        """Return the direct CRIU dump of this container, frozen before and left frozen after.

        :param previous: directory of the last pre-dump, relative to ``images``.
        :param scan_paths: see ``_criu.dump_command``.
        :param tcp_close: leave TCP connections alone, and have them closed in the image.
        """
        externals = self.externals(self._mountinfo()) + _criu.memory_externals(self._memory_mounts())
        return _criu.dump_command(
            self.pid,
            images,
            work,
            root=self.root,
            externals=externals,
            freeze_cgroup=self.freezer.directory,
            net_inode=os.stat(self.network).st_ino,
            skip_in_flight=True,
            manage_cgroups="ignore" if plain_cgroups else "soft",
            previous=previous,
            scan_paths=scan_paths,
            link_remap=True,
            tcp_close=tcp_close,
        )

    def plain_cgroups(self) -> bool:
        """Return whether all tasks are in the very cgroups that the runtime has made, and see them as the host does.

        runc starts the restoring CRIU in the cgroups of the new container, and what CRIU restores is in them, too. So it need
        not carry their settings, which are the runtime's, nor move a task: the first such move waits for all processors of
        the host (10 to 20 ms).
        """
        if _criu.bundle_private_cgroups(self.bundle) or any(
            entry.is_dir() for entry in os.scandir(self.freezer.directory)
        ):
            return False
        seen = set()
        for pid in self._processes():
            try:
                seen.add(_kernel.read_text(f"{PROC}/{pid}/cgroup"))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return len(seen) == 1

    def externals(self, mountinfo: str) -> list[str]:
        """Return the mounts that the runtime makes anew at the destination."""
        externals = _criu.mount_externals(
            mountinfo,
            _criu.bundle_masked(self.bundle),
            _criu.bundle_binds(self.bundle),
            _criu.bundle_private_cgroups(self.bundle),
        )
        _criu.refuse_unspeakable(entry.removeprefix("mnt[").partition("]:")[0] for entry in externals)
        theirs, ours = (f"mnt[{_criu.INIT}]:{key}" for key in (_criu.INIT, _criu.INIT_KEY))
        return [ours if entry == theirs else entry for entry in externals]

    def masked_directories(self) -> list[str]:
        """Return the hidden directories for which the restore must offer an empty one."""
        return _criu.masked_directories(self.externals(self._mountinfo()), _criu.bundle_masked(self.bundle))

    def _mountinfo(self) -> str:
        return _kernel.read_text(f"/proc/{self.pid}/mountinfo")

    def _memory_mounts(self) -> list[_criu.Mount]:
        mountinfo = self._mountinfo()
        mounts = _criu.memory_mounts(mountinfo, self.externals(mountinfo))
        _criu.refuse_unspeakable(mount.point for mount in mounts)
        return mounts

    def memory_file_systems(self) -> list[dict[str, str]]:
        """Return what the destination needs to offer the same file systems in memory (see ``tmpfs``)."""
        return tmpfs.describe(self._memory_mounts(), f"/proc/{self.pid}/root")

    def trees(self) -> list[tuple[Tree, str, Callable[[], Collection[int]]]]:
        """Return the file trees that travel, each with its name and with what tells which of its files are mapped.

        The trees are opened here, once: in the freeze the same directories are read, wherever the container has moved them.
        """
        layer = Tree.at(upper_directory(self.root))
        found: list[tuple[Tree, str, Callable[[], Collection[int]]]] = [(layer, "", lambda: self.mapped_inodes(layer))]
        for mount in self._memory_mounts():
            found.append((Tree.inside(f"/proc/{self.pid}/root", mount.point), mount.point, EveryInode))
        return found

    def volume_trees(self) -> list[tuple[Tree, str, Callable[[], Collection[int]]]]:
        """Return the trees of the container's volumes, as :meth:`trees` does: at their own places, where nothing hides them."""
        found: list[tuple[Tree, str, Callable[[], Collection[int]]]] = []
        for mount in self.volumes():
            tree, point = Tree.at(mount["Source"]), mount["Destination"]
            found.append((tree, point, partial(self.mapped_inodes, tree, point)))
        return found

    def volumes(self) -> list[dict]:
        """Return the container's volumes as ``docker inspect`` has them among its mounts."""
        return _volumes.mounted(self.inspect)

    def binds(self) -> list[_binds.Bind]:
        """Return the container's bind mounts."""
        return _binds.asked(self.inspect["HostConfig"])

    def volume_document(self) -> list[dict]:
        """Return what makes the same volumes elsewhere: ``point``, and of those that somebody named ``name`` and ``labels``."""
        described = []
        for mount in self.volumes():
            point = mount["Destination"]
            volume = {"point": point}
            if not _volumes.anonymous(self.inspect, point):
                labels = self.docker.request("GET", f"/volumes/{mount['Name']}").get("Labels") or {}
                volume = {"point": point, "name": mount["Name"], "labels": labels}
            described.append(volume)
        return described

    def mapped_inodes(self, tree: Tree, point: str = "") -> set[int]:
        """Return the inodes of a tree's files that a task has mapped, shared and for writing.

        The kernel marks a file's times when a page of it is first written, and not again until that page has been written back.

        :param point: where the tree is mounted, if it is not the root's.
        """
        found, prefix = set(), point.strip("/") + "/" if point else ""
        for pid in self._processes():
            for path in _mapped_paths(pid):
                if path.startswith(prefix):
                    with contextlib.suppress(OSError), tree.item(path[len(prefix) :]) as item:
                        found.add(item.status.st_ino)
        return found

    def descriptors(self) -> str:
        """Return runc's ``descriptors.json``: the pipes that Docker's logger reads, by the names they had at the start.

        What the init has at 0 to 2 just now may be something else: a shell may have redirected it for a moment.
        """
        with open(f"{RUNTIME_ROOT}/{self.id}/state.json", encoding="utf-8") as file:
            return _criu.descriptors(json.load(file)["external_descriptors"])

    def veth(self) -> str | None:
        """Return the host's end of the container's veth pair, which is taken down before the frozen tasks are killed."""

        def peer_index() -> int | None:
            for _, name in socket.if_nameindex():
                if name != "lo":
                    # sysfs would show the caller's namespace, not this thread's: ask the kernel
                    return _link_peer(name)
            return None

        index = syscalls.in_network(self.network, peer_index)
        try:
            return socket.if_indextoname(index) if index else None
        except OSError:
            return None


def _link_peer(name: str) -> int | None:
    """Return IFLA_LINK of an interface: for one end of a veth pair, the index of the other end in its namespace."""
    request = struct.pack("=IHHIIBBHiII", 32, 18, 1, 1, 0, 0, 0, 0, socket.if_nametoindex(name), 0, 0)  # RTM_GETLINK
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(request)
        return peer_in(route.recv(65536))


def peer_in(data: bytes) -> int | None:
    """Return IFLA_LINK of an answer to RTM_GETLINK."""
    offset = 32  # nlmsghdr (16) and ifinfomsg (16)
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        if kind == 5 and offset + 8 <= len(data):  # IFLA_LINK
            return struct.unpack_from("=i", data, offset + 4)[0]
        offset += (length + 3) & ~3
    return None
