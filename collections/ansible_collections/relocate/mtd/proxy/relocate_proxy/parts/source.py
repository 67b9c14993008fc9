# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The source's part: describes the container, copies its files, freezes and dumps it, and keeps it until the verdict."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable

from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from ansible_collections.relocate.mtd.plugins.module_utils import _images, _traits
from ansible_collections.relocate.mtd.plugins.module_utils._bundle import directory_of
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient
from ansible_collections.relocate.mtd.plugins.module_utils._modes import PRE_COPY

from ..files import binds, saved_image
from ..files.cargo import Outgoing, measure_link
from ..files.container import Container
from ..files.creation import changes, creation_document
from ..files.log_cargo import LogSender
from ..files.own_cargo import OwnSender
from ..files.tree_cargo import TreeSender
from ..files.watches import Watches
from ..host import limits, paths, tasks, unix_peers, unix_sockets
from ..host.docker import NO_RESTART, restarts, set_restart_policy
from ..host.socket_options import USUAL_KINDS, SocketOptions
from ..memory import criu_image, criu_sockets, lazy_pages, link_remaps, peer_images, unix_images
from ..memory.deferred import carried_bytes
from ..memory.dump import Freeze
from ..memory.image_cargo import ImageSender
from ..memory.prepared_dump import PreparedDump
from ..memory.rounds import PreCopy
from ..memory.strays import end_strays
from ..network import links, sysctls
from ..network.conntrack import Conntrack
from ..network.flows import Connection, Flow, on_source
from ..network.published import Published
from ..network.severed import Severed
from ..protocol.addresses import Addresses
from ..protocol.channel import Channel, Outlet
from ..protocol.documents import Specification
from ..protocol.journal import Journal
from ..protocol.states import State
from ..protocol.words import sentence
from . import endings
from .base import Part

SETTLE_SECONDS = 0.5  # how long new connections may keep the container from freezing; only newer ones wait meanwhile
UNREAD_SECONDS = 0.02  # how long datagrams that have arrived may be read; one that is not is lost, as datagrams may be
CONNECT_SECONDS = 10.0
#: Of what has changed in the volumes, before the freeze. What is written half as fast as it is sent needs one for each halving.
MOST_ROUNDS = 12
ENOUGH = 0.7  # a round that takes more than this share of the one before it has nothing to catch up with any more


class AlreadyMoving(RuntimeError):
    """Another relocation has the container."""


def lock(bundle: str) -> int:
    """Take the container of an OCI bundle for one relocation; the kernel gives it back when the process ends, however it ends.

    :raises AlreadyMoving: another relocation has it.
    """
    fd = os.open(f"{bundle}/config.json", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise AlreadyMoving("the container is being relocated already; wait for that move to end") from None
    return fd


class Source(Part):
    """The host that the container leaves."""

    name = "source"
    companions: frozenset[str] = frozenset()  # addresses that stay as they are: its own, and those of its project
    severed: Severed | None = None  # of a member of a project
    policy_aside = False  # its own restart policy is put aside

    def __init__(self, specification: dict, journal: Journal) -> None:
        self.docker = DockerClient()
        self.container = Container(self.docker, Specification.read(specification).container)
        self._lock = lock(directory_of(self.container.id))
        super().__init__(specification, journal)
        self.docker.changes = self.commands
        self.images = paths.private_directory(f"{self.directory}/images")
        self.work = paths.private_directory(f"{self.directory}/work")
        self.conntrack = Conntrack()
        self.addresses = self.container.addresses
        self.new_addresses = Addresses("")
        self.published: Published | None = None
        self.companions = self.specification.companions
        self.command: list[str] = []
        self.data: Outlet | None = None
        self.freeze = Freeze()
        self.prepared: PreparedDump | None = None
        self.watches: Watches | None = None
        self.limits: list[limits.Limit] = []
        self.pages: lazy_pages.PageServer | None = None
        self.trees: list[TreeSender] = []
        self.volumes: list[TreeSender] = []
        self.outside: list[Outgoing] = []  # the volumes, and what the container writes to shared directories
        self.binds: binds.Offered | None = None
        self.cargo: list[Outgoing] = []  # all but volumes and memory, in the order in which it is sent in the freeze
        self.veth = self.container.veth()
        self.plain_cgroups = self.container.plain_cgroups()
        self.bytes: dict[str, int] = {}
        self.policy: dict = self.container.inspect["HostConfig"]["RestartPolicy"]
        self.root = f"/proc/{self.container.pid}/root"
        self.peers = unix_peers.Reader(self.container.pid)
        self.sockets = SocketOptions(f"/proc/{self.container.pid}/ns/net", self.root, self.peers)
        self._warm_up()
        self.record(State.STAGING)

    def close(self, state: State, **facts: object) -> None:
        """End, and give the container back to whoever wants to move it next."""
        if self.prepared is not None:
            self.prepared.close()
        if self.watches is not None:
            self.watches.close()
        if self.binds is not None:
            self.binds.close()
        self.peers.close()
        super().close(state, **facts)
        os.close(self._lock)

    def record(self, state: State, **facts: object) -> None:
        """Write a state with what a rollback without this process needs."""
        at = self.container.freezer
        self.journal.record(
            state,
            container_id=self.container.id,
            container=self.container.name,
            freezer=[at.directory, at.version],
            veth=self.veth,
            restart_policy=self.policy,
            volumes=[mount["Name"] for mount in self.container.volumes()],
            **facts,
        )

    def _warm_up(self) -> None:
        """CRIU's first call after boot probes the kernel (30 ms), and its pages come from the disk."""
        for kind in USUAL_KINDS:
            self.sockets.usual(kind)
        subprocess.run(["criu", "check", "--feature", "nftables"], capture_output=True, check=False)

    # -- before anything is frozen ----------------------------------------------------------------------------------

    def on_describe(self, _: dict) -> None:
        """Say what the destination needs to make the same container."""
        inspect = self.container.inspect
        self.sockets.binds = [each.point for each in self.container.binds()]
        self.binds = binds.Offered(self.container.binds(), self.root, self.id)
        self.record(State.STAGING, probes=self.binds.probes)
        self.binds.place_probes()
        kept = links.places(self.container.network) if self.companions else {}
        document = {
            "name": self.container.name,
            "create": creation_document(inspect, kept),
            "links": kept,
            "image": inspect["Config"]["Image"],
            **self._image_document(),
            "restart_policy": self.policy,
            "binds": self.binds.document,
            **self._carried(),
        }
        self.say("described", document=document, **self.addresses.document())

    def _carried(self) -> dict:
        """Return what the destination needs to know of what is carried into the container that it makes."""
        return {
            "masked": self.container.masked_directories(),
            "memory": self.container.memory_file_systems(),
            "plain_cgroups": self.plain_cgroups,
            "volumes": self.container.volume_document(),
            "init": self.container.init_program is not None,
            "sysctls": sysctls.read(self.container.network),
        }

    def _image_document(self) -> dict:
        """Return what identifies the container's image."""
        identifier = self.container.inspect["Image"]
        image = self.docker.image(identifier) or {}
        return {
            "image_id": identifier,
            "image_layers": _images.layers_of(image),
            "image_digests": sorted(name.partition("@")[2] for name in image.get("RepoDigests") or []),
        }

    def on_send_image(self, message: dict) -> None:
        """Send the image of the container, which the destination neither has nor can pull."""
        self.data = self._open_data(message)
        image = self._image_document()
        with self.docker.saved(image["image_id"]) as archive:
            sent = saved_image.send(self.data, archive, image["image_id"], image["image_layers"])
        self.say("image_sent", bytes=sent)

    def _known(self, place: list) -> tuple[str, int]:
        """Return address and port of a peer. :raises ValueError: this part was told of its peers, and that is none."""
        host, port = place
        if self.specification.peers and host not in self.specification.peers:
            raise ValueError(f"the container does not go to {host}, which is no host of the fleet")
        return host, port

    def on_copy(self, message: dict) -> None:
        """First copy of the log, and of the writable layer once it is mounted there; the container runs meanwhile."""
        self.data = self.data or self._open_data(message)
        if message.get("pages"):  # where the destination's page process listens: post-copy
            host, port = self._known(message["pages"])
            self.pages = lazy_pages.PageServer(self.directory, self.specification, (host, port))
        log = LogSender(self.data, *self.container.log)
        self.trees = [TreeSender(self.data, *each) for each in self.container.trees()]
        directory = f"{self.docker.info()['DockerRootDir']}/containers/{self.container.id}"
        own = OwnSender(self.data, directory, self.container.hostname, self.container.init_program)
        self.volumes = [TreeSender(self.data, *each) for each in self.container.volume_trees()]
        self.outside = [*self.volumes]
        if self.binds:
            binds.remove_probes(self.binds.probes)  # the destination has seen them
            self.outside += [self.binds] if self.binds.written else []
        files: list[Outgoing] = [*self.trees, own]
        self.cargo = [*files, log]
        log.send_first()
        self.data.send("end")
        self.data.receive()
        copied = log.bytes + sum(each.send_first() for each in files)
        self.bytes["volumes"] = sum(each.send_first() for each in self.outside)
        self.data.send("end")
        self.data.receive()
        self.say("copied", bytes=copied)

    def _open_data(self, message: dict) -> Outlet:
        """Return what the cargo is sent on."""
        host, port = self._known(message["destination"])
        credentials = self.specification.credentials
        return Channel.connect((host, port), "destination", self.id, credentials, CONNECT_SECONDS)

    def _measure_link(self) -> float:
        """Return the milliseconds that a MiB takes there."""
        assert self.data is not None
        return measure_link(self.data)

    def on_arm(self, message: dict) -> None:
        """Prepare everything that the freeze needs; show the connections as they are now, so that the edge can refuse."""
        self.new_addresses = Addresses.read(message)
        assert self.data is not None
        self.data.send("image", raw=self.container.descriptors().encode(), name="descriptors.json")
        self.data.send("end")
        self.data.receive()  # the restore over there waits for the rest of the image
        self.insist_unchanged(self.docker.container(self.container.id))  # while its policy is its own
        self._forbid_restart()
        self.record(State.STAGED)
        if problems := _traits.forgotten_memory(freezer.members(self.container.freezer)):
            raise RuntimeError(f"the container cannot be moved as it is: {'; '.join(problems)}")
        link = self._measure_link()
        previous, ahead = None, {}
        if self.specification.mode == PRE_COPY:
            rounds = PreCopy(self.data, self.container.pid, self.images, self.work, self.commands)
            rounds.run()
            previous, ahead = rounds.last, rounds.document()
            self.bytes["memory"] = sum(each.bytes for each in rounds.rounds)
        self.limits = limits.find(self.container.pid, self.container.id)
        self.sockets.insist_on_peers(freezer.members(self.container.freezer))
        self.watches = self.container.find_watches()
        scan_paths, watches = self.watches.lonely_files(), ""
        if self.watches.paths:
            watches = f"{self.work}/watches"
            with open(watches, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(self.watches.table())
        self.command = self._dump_command(previous, scan_paths)
        deferred = ""
        if self.pages:
            deferred = self.pages.deferral.path
            ahead["left_bytes"] = carried_bytes(freezer.members(self.container.freezer))
        self.prepared = PreparedDump(self.command, self.images, self.work, deferred, watches)
        if self.outside:
            ahead["files_ms"] = self._catch_up()
        self.published = Published(self.specification.addresses, self.container.published(), self.container.listening)
        if self.specification.together:
            self.severed = Severed(self.container.network)
        self.insist_unchanged(self.docker.container(self.container.id))
        flows = self._flows(self.container.connections())
        measured = {"memory_bytes": self.container.memory_bytes(), "link_ms_per_mib": link, **ahead}
        self.say("armed", flows=[flow.document() for flow in flows], **measured)

    def _flows(self, connections: Iterable[Connection]) -> list[Flow]:
        """Return what has to be led elsewhere of some connections. :raises UntrackedFlow: one would be cut."""
        return on_source(connections, self.conntrack, self.addresses, self.published, self.companions)

    def _catch_up(self) -> float:
        """Send what has changed in the volumes until that gets no faster; return the milliseconds that it took at last.

        Longer the freeze will not take for what changes from now on.
        """
        assert self.data is not None
        took = math.inf
        for _ in range(MOST_ROUNDS):
            begin, before = time.monotonic(), took
            self.bytes["volumes"] += sum(each.send_changes() for each in self.outside)
            self.data.send("flush")
            self.data.send("probe")  # its answer means that all of it has arrived, and is on the disk
            self.data.receive()
            took = (time.monotonic() - begin) * 1e3
            if took > ENOUGH * before:
                break
        return round(took, 1)

    def _dump_command(self, previous: str | None, scan_paths: Iterable[str]) -> list[str]:
        return self.container.dump_command(self.images, self.work, self.plain_cgroups, previous, scan_paths)

    def _forbid_restart(self) -> None:
        """A restart policy would start a fresh process here when the frozen one is killed."""
        if restarts(self.policy):
            set_restart_policy(self.docker, self.container.id, NO_RESTART)
            self.policy_aside = True

    def insist_unchanged(self, now: dict | None) -> None:
        """Return if the container still is what the copy is made from.

        :param now: ``docker inspect``; None if there is no such container any more.
        :raises RuntimeError: it has gone, or somebody has changed it (``docker update``, ``rename``, ``network connect``).
        """
        name = self.container.name
        if now is None:
            raise RuntimeError(f"the container {name} was removed while it was being moved")
        places = changes(self.container.inspect, now, NO_RESTART if self.policy_aside else self.policy)
        if not places:
            return
        if "HostConfig.RestartPolicy" in places and self.journal.state is not None:
            self.policy = now["HostConfig"]["RestartPolicy"]  # the one that a rollback has to leave it
            self.record(self.journal.state)
        listed = ", ".join(places[:3])
        raise RuntimeError(f"the container {name} was changed while it was being moved ({listed}): try again")

    def on_settle(self, _: dict) -> None:
        """Wait for what CRIU does not see; new connections wait at the edge already.

        :raises RuntimeError: some of it is still there. A client would hear a reset, or nothing any more; a process whose
            parent is not the container's would stay behind.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            late = time.monotonic() > deadline  # before the look: what passed while this process had to wait is seen
            problem = self._unsettled()
            if not problem:
                break
            if late:
                raise RuntimeError(problem)
            time.sleep(0.001)
        self.say("settled")

    def _unsettled(self) -> str:
        """Return what the freeze has to wait for, or nothing."""
        if waiting := self.container.half_open():
            problem = f"{waiting} connections wait for the container to accept them, and would be cut"
            return f"{problem}: try again when it is less busy"
        if waiting := self.container.undelivered():
            problem = f"the last words of {waiting} closed connections are still on their way to slow peers, and would be lost"
            return f"{problem}: try again when they have arrived"
        if self.container.unread_netlink():
            return (
                "a program of the container has not read yet what the kernel has told it (netlink), which cannot be carried: "
                "have it read that, or close the socket"
            )
        if self.container.visitors():
            return "a command of docker exec or a health check runs in the container: try again when it has ended"
        return ""

    # -- the freeze -------------------------------------------------------------------------------------------------

    def on_freeze(self, _: dict) -> None:
        """Freeze. What follows runs beside this loop, which must hear the edge when it calls the move off."""
        self.record(State.FREEZING, limits=self.limits, severed=self.severed is not None)
        self.moments.mark("begin")
        deadline = time.monotonic() + UNREAD_SECONDS
        while self._unread() and time.monotonic() < deadline:
            time.sleep(0.0005)  # no datagram comes any more: the edge holds them
        self._freeze()
        self.say("frozen")
        self.moments.mark("frozen")
        if self.severed is None:
            self.freeze.begin(self._carry, self._failed)

    def on_dump(self, _: dict) -> None:
        """All members of the project are frozen. Nothing comes or goes from here on, and this one is dumped.

        :raises RuntimeError: a connection has begun or ended in the last moment, and no image would have what is in it.
        """
        if self.severed is None:
            raise RuntimeError("the container does not move with a project: run prepare.yml again")
        self.severed.cut()
        if waiting := self.container.half_open():
            raise RuntimeError(f"{waiting} connections of its project wait for the container to accept them: try again")
        if waiting := self.container.undelivered():
            raise RuntimeError(f"the last words of {waiting} closed connections are still on their way: try again")
        self.freeze.begin(self._carry, self._failed)

    def _freeze(self) -> None:
        """Freeze. :raises RuntimeError: it cannot be, or something was not read that CRIU does not carry."""
        freezer.freeze_for_dump(self.container.freezer)
        limits.lift(self.limits)
        if self.watches and self.watches.unread():
            raise RuntimeError(
                "a program of the container has not read yet what has changed in the files that it watches, and would never "
                "hear of it: try again"
            )

    def _unread(self) -> int:
        """Return how many bytes wait to be read that CRIU does not carry."""
        unread = self.container.unread_datagrams() + self.container.unread_netlink()
        return unread + (self.watches.unread() if self.watches else 0)

    def _failed(self, error: Exception) -> None:
        try:
            self.say("failed", reason=sentence(error))
        except OSError:  # the edge is gone, too: the other thread has noticed
            pass

    def _carry(self) -> None:
        """Dump, rewrite, tell the edge the flows, send. After the vote this part no longer decides alone."""
        assert self.data is not None and self.prepared is not None
        if self.pages:
            self.pages.serve(freezer.members(self.container.freezer))
        images = ImageSender(self.data, self.images)
        sent = self._dump(images)
        if self.pages:
            self.pages.deferral.enter(self.images)
        connections = criu_sockets.rewrite(self.images, self.addresses, self.new_addresses)
        if self.plain_cgroups:
            forget_cgroups(self.images)
        self.moments.mark("rewritten")
        flows = self._flows(connections)
        self.say("dumped", flows=[flow.document() for flow in flows])
        sent()
        self._send_link_remaps()
        self._tell_unix_sockets()
        images.send_rest()
        self.bytes["memory"] = self.bytes.get("memory", 0) + images.bytes
        if self.pages:
            self.pages.await_serving()
        with self.freeze.deciding():
            self.record(State.VOTED, flows=[flow.document() for flow in flows])
        self.data.send("end")
        self.moments.mark("sent")

    def _dump(self, images: ImageSender) -> Callable[[], None]:
        """Have CRIU dump the frozen container, and send meanwhile what there is.

        Return what waits for that sending to end, and raises its error if it had one.

        :raises RuntimeError: CRIU could not.
        """
        assert self.prepared is not None
        dumped = threading.Event()
        problems: list[Exception] = []
        sending = threading.Thread(target=self._send_meanwhile, args=(images, dumped, problems))
        sending.start()
        self.commands.append(self.command)
        try:
            status, words = self.freeze.dump(self.prepared.begin)
        finally:
            dumped.set()
        self.moments.mark("dumped")
        if status:
            said = lazy_pages.criu_words(f"{self.work}/dump.log") or words.strip() or "it gave no reason"
            raise RuntimeError(f"CRIU could not dump the container: {said}")

        def sent() -> None:
            sending.join()
            if problems:
                raise problems[0]

        return sent

    def _send_link_remaps(self) -> None:
        """Send what CRIU has left in the file systems for this dump, and what it says of it; the tasks are frozen."""
        link_remaps.send(self.images, freezer.members(self.container.freezer), self.root, [*self.trees, *self.volumes])

    def _tell_unix_sockets(self) -> None:
        """Have the image bind unix sockets where their files are, and tell what CRIU does not know of them.

        :raises LookupError, RuntimeError: there is one that cannot be carried as it is now.
        """
        if self.sockets.bound or self.container.binds_unix_sockets():
            self._tell_bound(self.sockets.bound)
        self._tell_peers()

    def _tell_bound(self, told: list[dict]) -> None:
        unix_sockets.settle_shared(told)
        for each in unix_sockets.nameless(told):
            inode = each["file"][1]
            found = [path for tree in [*self.trees, *self.volumes] for path in tree.sockets_of(inode)]
            unix_sockets.name(each, found, self.root)
        unix_images.rewrite(self.images, told)
        with open(f"{self.images}/{paths.SOCKETS}", "w", encoding="utf-8") as file:
            json.dump(tasks.by_inner_number(told, unix_sockets.TOLD), file)

    def _tell_peers(self) -> None:
        """Have the image name the peers of unix sockets, and tell them. :raises RuntimeError: one cannot be named."""
        self.peers.close()
        if not (named := self.sockets.named):
            return
        pids = freezer.members(self.container.freezer)

        def connecting(inode: int) -> dict | None:
            return tasks.connecting(pids, inode, named[inode]["owner"]) if inode in named else None

        carried = peer_images.rewrite(self.images, named, connecting, tasks.taken(pids))
        told = [each for inode, each in named.items() if inode in carried]
        with open(f"{self.images}/{paths.NAMED}", "w", encoding="utf-8") as file:
            json.dump(tasks.by_inner_number(told, unix_peers.TOLD), file)

    def renounce(self) -> bool:
        """Give up the right to vote; False when the vote is given, or just being written."""
        return self.freeze.renounce(lambda: self.bound)

    def _send_meanwhile(self, images: ImageSender, dumped: threading.Event, problems: list[Exception]) -> None:
        """Note what CRIU does not see of the tasks; send what changed in the files; then the pages, while CRIU writes them."""
        try:
            with open(f"{self.images}/{paths.TASKS}", "w", encoding="utf-8") as file:
                json.dump(tasks.describe(freezer.members(self.container.freezer), self.sockets), file)
            self.bytes["volumes"] += sum(each.send_changes() for each in self.outside)
            for cargo in self.cargo:
                cargo.send_changes()
            self._send_pages(images, dumped)
        except Exception as error:
            problems.append(error)

    def _send_pages(self, images: ImageSender, dumped: threading.Event) -> None:
        """Send the pages while CRIU writes them."""
        images.send_pages(dumped)

    # -- the verdict ------------------------------------------------------------------------------------------------

    def on_finish(self, _: dict) -> None:
        """Commit, as the source hears it: the destination runs. Kill what is frozen here and remove the container."""
        if not self.journal.finished:
            endings.end_original(self.journal, self.docker, self._stop_serving)
        timings = self._timings()
        self.close(State.DONE)
        self.say("finished", timings_ns=timings, bytes=self.bytes, commands=self.commands)

    def _timings(self) -> dict[str, int | None]:
        return {
            "freeze": self.moments.span("begin", "frozen"),
            "dump": self.moments.span("frozen", "dumped"),
            "rewrite": self.moments.span("dumped", "rewritten"),
            "transfer": self.moments.span("rewritten", "sent"),
        }

    def roll_back(self, reason: str) -> None:
        """Let the container run on; then give it its restart policy back."""
        endings.give_original_back(self.journal, self.docker, self._call_off, self._thawed)
        self.close(State.ROLLED_BACK, reason=reason)
        timings = {**self._timings(), "frozen_total": self.moments.span("frozen", "thawed")}
        self.say_if_heard("rolled_back", timings_ns=timings, commands=self.commands)

    def _call_off(self) -> None:
        """Have CRIU let the frozen tasks go."""
        if not self.freeze.call_off():
            end_strays(self.directory)
        if self.data is not None:
            self.data.close()  # a thread that waits for room in it goes on

    def _thawed(self) -> None:
        self.moments.mark("thawed")
        self.freeze.ended()
        self._stop_serving()

    def _stop_serving(self) -> None:
        if self.pages:
            self.pages.close()


def forget_cgroups(images: str) -> None:
    """Leave nothing in the image of the cgroups: a restore that ignores them would mount every hierarchy all the same."""
    with contextlib.suppress(FileNotFoundError):
        os.truncate(f"{images}/cgroup.img", criu_image.HEAD)
