# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The destination's part: makes the container, starts it up to the gate, receives, restores, runs it on commit."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from functools import partial

from ansible_collections.relocate.mtd.plugins.module_utils import _criu, _images
from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from ansible_collections.relocate.mtd.plugins.module_utils._docker import (
    DockerClient,
    DockerError,
    Leading,
    first_network,
)
from ansible_collections.relocate.mtd.plugins.module_utils._modes import POST_COPY, RECREATE

from ..files import binds, creation, images, tmpfs, watches
from ..files.cargo import Receiver
from ..files.disk import Disk
from ..files.log_cargo import LogReceiver
from ..files.log_formats import FORMATS
from ..files.own_cargo import INIT, OwnReceiver
from ..files.tree_cargo import TreeReceiver
from ..host import networks, paths, tasks, unix_peers, unix_sockets, volumes
from ..memory import lazy_pages
from ..memory.image_cargo import ImageReceiver
from ..network import links, sysctls
from ..network.conntrack import Conntrack
from ..network.flows import Flow, place_on_destination
from ..network.severed import Severed
from ..protocol.addresses import Addresses
from ..protocol.channel import Channel, Outlet
from ..protocol.journal import Journal
from ..protocol.states import AFTER_COMMIT, State
from ..protocol.words import sentence
from ..restore.keeper_client import GateFailed, KeeperClient
from . import drain, endings
from .base import Part

STAGE_SECONDS = 300.0  # a log and a writable layer of any size come over the network
LOOK_SECONDS = 0.2  # how often to see whether the edge calls the move off
GATE_SECONDS = 60.0
STARTS = 30  # of a container whose links come in the order of the source by chance
#: A keeper that has given up listens no more, and what it said last is read next: it says why.
LAST_WORDS = contextlib.suppress(BrokenPipeError)
NAMED = 5  # settings, of those that the kernel here does not give
START_SECONDS = 3600.0  # `docker start` lasts until the restore is primed: a first copy of a large layer is part of it


class Destination(Part):
    """The host that the container comes to."""

    name = "destination"
    restore_options: tuple[str, ...] = ()  # for CRIU, beyond those of every restore
    severed: Severed | None = None  # of a member of a project, until all its sockets are there
    sent_images = True  # the source sends the Docker image if this host lacks it
    _broken = ""  # why nothing comes from the source any more

    def __init__(self, specification: dict, journal: Journal) -> None:
        self.docker = DockerClient()
        super().__init__(specification, journal)
        self.docker.changes = self.commands
        self.images = paths.private_directory(f"{self.directory}/images")
        self.work = paths.private_directory(f"{self.directory}/work")
        self.conntrack = Conntrack()
        self.container_id = ""
        self.document: dict = {}
        self.addresses = Addresses("")
        self.others: list[str] = []
        self.gate: KeeperClient | None = None
        self.placed: list[Flow] = []
        self.pages: lazy_pages.PageClient | None = None
        self.pid = 0  # of the copy's init, on this host
        self._start: threading.Thread | None = None
        self._start_error = ""
        self.root = ""
        self.memory: dict[str, str] = {}  # file systems in memory: where they are here, by mount point
        self.volumes: dict[str, str] = {}  # the same of its volumes
        self.shown: dict[str, binds.Identity] = {}  # what its bind mounts are to show, by mount point
        self._disk = Disk()
        self._made, self._log_stored, self._mounted = (threading.Event() for _ in range(3))
        self._image_asked = False  # nothing has come of it yet
        self._given_up = False
        self._deciding = threading.Lock()  # whether to give the word, or to roll back alone
        self.journal.record(State.STAGING, container=self.specification.container, mode=self.specification.mode)

    # -- before anything is frozen ----------------------------------------------------------------------------------

    def on_create(self, message: dict) -> None:
        """Pull the image if it is missing, and create the container."""
        self.document = document = message["document"]
        creation.check(document, self.specification.container, live=self.specification.mode != RECREATE)
        if not self._has_image(document):
            self._lack_image()
            return
        self.shown = binds.find(document["binds"], "the destination")
        named = [each for each in document["volumes"] if "name" in each]
        names = [each["name"] for each in named]
        volumes.need_none(self.docker, names)
        self.journal.record(State.STAGING, volumes=names)  # made for this copy, for nobody else
        for each in named:
            volumes.make(self.docker, each["name"], each["labels"])
        self._make_networks()
        with images.named(self.docker, document["image"], document["image_id"]):
            name = endings.provisional_name(document["name"], self.id)
            self.container_id = self.docker.create(name, document["create"])
        facts = {"container": document["name"], "restart_policy": document["restart_policy"]}
        self.journal.record(State.STAGING, container_id=self.container_id, **facts)
        self._insist_on_settings(document["create"])
        self.docker.request("POST", f"/containers/{self.container_id}/rename", {"name": document["name"]})
        self.volumes = self._empty_volumes(document["volumes"])
        self.memory = tmpfs.mount_all(document["memory"], f"{self.directory}/memory")
        mounts = {**dict.fromkeys(document["masked"], paths.EMPTY), **self.memory}
        if document["init"]:
            mounts[_criu.INIT_KEY] = f"{self._directory()}/{INIT}"
        self._write_restore_options(mounts, document["plain_cgroups"])
        self._made.set()
        where = {}
        if self.specification.mode == POST_COPY:
            self.pages = lazy_pages.PageClient(self.directory, self.specification)
            where["pages"] = [self.specification.listen, self.pages.port]
        self.say("created", container_id=self.container_id, **where)

    def _make_networks(self) -> None:
        """Make the networks of the container that are not here. :raises NetworkProblem: one cannot be made."""
        if not self.specification.networks:
            return
        begun = endings.begun(self.journal)
        with networks.one_at_a_time():
            made = networks.to_make(self.docker, self.specification.networks, begun)
            self.journal.record(State.STAGING, networks=made)
            networks.make(self.docker, made, begun)

    def _insist_on_settings(self, body: dict) -> None:
        """See that Docker has taken every setting. :raises LookupError: it has not; its kernel lacks what the source's has."""
        if lost := creation.dropped(body, self.docker.container(self.container_id) or {"HostConfig": {}}):
            raise LookupError(
                f"Docker on this host leaves out what the container has on the source ({', '.join(lost)}): its kernel or its "
                "version lacks that"
            )

    def _empty_volumes(self, described: list[dict]) -> dict[str, str]:
        """Return where the copy's volumes are on this host, by mount point, with nothing in them.

        :raises LookupError: Docker has made others than the source described.
        """
        places = volumes.places(self.docker, self.container_id)
        if set(places) != {each["point"] for each in described}:
            raise LookupError(
                f"Docker has made volumes at {', '.join(sorted(places)) or 'no place'}, and the container has others: "
                "is the image another one?"
            )
        for directory in places.values():
            volumes.empty(directory)
        return places

    def on_start(self, _: dict) -> None:
        """Start it, as soon as its log is here: ``docker start`` waits at the gate until the restore is primed."""
        self._await_log()
        self._start_with_links()
        self.addresses = self._plugged_addresses()
        self._give_sysctls()
        if self.specification.together:  # a member's sockets are not there yet, and nobody may be told so
            self.severed = Severed(f"/proc/{self.pid}/ns/net")
            self.severed.cut()
        others = {"other_addresses": self.others} if self.others else {}
        self.journal.record(State.GATED, pid=self.pid, **self.addresses.document(), **others)
        self._mounted.set()
        self.say("gated", container_id=self.container_id, **self.addresses.document())

    def _start_with_links(self) -> None:
        """Bring ``docker start`` to the gate; again, where Docker has given the links of several networks in another order.

        :raises RuntimeError: it does not come there; :raises LookupError: it keeps to the other order.
        """
        kept = {each.ip4 for each in creation.addresses_asked(self.document["create"]).values()}
        wanted = {name: address for name, address in self.document["links"].items() if address in kept}
        chance = links.by_chance(self.docker.info().get("ServerVersion") or "") if wanted else False
        once = self.document["create"]["HostConfig"].get("AutoRemove")  # Docker removes it when its start is broken off
        for _ in range(STARTS):
            self._start_to_gate()
            if not wanted or wanted.items() <= links.places(f"/proc/{self.pid}/ns/net").items():
                return
            if not chance or once:
                break
            self._cancel("its links are in another order than at the source")
            assert self.gate is not None and self._start is not None
            self.gate.close()
            if self._start.is_alive():
                raise RuntimeError("Docker does not end the start of the copy that was called off")
        order = ", ".join(f"{name} {address}" for name, address in wanted.items())
        remedy = "which is a matter of chance: try again" if chance else "and never will: choose a host with Docker 28"
        raise LookupError(
            f"Docker on this host does not give the container its links in the order of the source ({order}), {remedy}"
        )

    def _start_to_gate(self) -> None:
        """Let Docker start the copy, up to the gate. :raises RuntimeError: it does not come there."""
        self._start_error = ""
        KeeperClient.expect_container(self.container_id, self.directory)
        self._start = threading.Thread(target=self._docker_start, daemon=True)
        self._start.start()
        self.gate = KeeperClient(self.container_id)
        try:
            self.gate.attach(GATE_SECONDS, self._start.is_alive)
            gated = self.gate.expect("gated", GATE_SECONDS)
        except (GateFailed, TimeoutError) as error:
            self._start.join(1.0)
            raise RuntimeError(f"docker start failed on the destination: {self._start_error or error}") from error
        self.root, self.pid = gated["root"], gated["pid"]

    def _give_sysctls(self) -> None:
        """Give the copy's network the settings that the original's has. :raises LookupError: the kernel here does not."""
        if lost := sysctls.give(f"/proc/{self.pid}/ns/net", self.document["sysctls"]):
            named = ", ".join(lost[:NAMED]) + (f" and {len(lost) - NAMED} more" if len(lost) > NAMED else "")
            raise LookupError(
                f"the kernel of this host does not give a network what the container's has ({named}): see that it "
                "has what that needs, such as the congestion control, or set it back at the source"
            )

    def _await_log(self) -> None:
        """Return when the log is here. :raises TimeoutError: it does not come; :raises RuntimeError: nor will it.

        The edge has nothing to say now but that the move is called off, or hangs up.
        """
        deadline = time.monotonic() + STAGE_SECONDS
        while not self._log_stored.wait(LOOK_SECONDS):
            if self._broken:
                raise RuntimeError(self._broken)
            if self.edge is not None and self.edge.waiting():
                raise RuntimeError("the move was called off before the log of the container had come")
            if time.monotonic() > deadline:
                raise TimeoutError("the log of the container did not arrive from the source")

    def _has_image(self, document: dict) -> bool:
        """Pull the image if it is missing, and see that it is the source's: files that are mapped must be the same.

        :return: False if it is missing, and no repository offers the very same.
        :raises LookupError: it is another one of that name.
        """
        reference = document["image"]
        told = reference, document["image_id"], document["image_layers"]
        try:
            if _images.found(self.docker, *told) is not None:
                return True
        except _images.Another:
            raise LookupError(
                f"the image {reference} is another one on this host than on the source: pull the same on both"
            ) from None
        digests = document["image_digests"]
        if _images.problem_of_offer(self.docker, reference, digests if self.sent_images else digests or None):
            return False
        self.docker.pull(reference)
        try:
            return _images.found(self.docker, *told) is not None
        except _images.Another:  # a tag may be given to another since the plan, or since the repository was asked
            with contextlib.suppress(DockerError):
                self.docker.untag(reference)  # nothing had the name before; it would be in the way of the next try
            remedy = "try again, and the source sends its own" if self.sent_images else "push the container's own again"
            raise LookupError(
                f"the repository has another image under the name {reference} than the container was made from: {remedy}"
            ) from None

    def _lack_image(self) -> None:
        """Ask for the image, once. :raises LookupError: it was sent already, or cannot be under its name."""
        reference = self.document["image"]
        if self._image_asked or not self.sent_images or not _images.sendable(reference):
            raise LookupError(
                f"this host has no image {reference}, and no repository offers it: push it to the repository"
            )
        self._image_asked = True
        self.say("lacks_image")

    def _docker_start(self) -> None:
        try:
            engine = DockerClient()
            engine.changes = self.commands
            engine.request("POST", f"/containers/{self.container_id}/start", timeout=START_SECONDS)
        except (DockerError, OSError) as error:
            self._start_error = str(error)

    def _await_start(self) -> None:
        """Return when Docker takes the copy for running: from here on it may be killed, and will know the copy afterwards.

        :raises RuntimeError: it does not, and would take the network away from a copy that runs.
        """
        if self._start is not None:
            self._start.join(endings.STOP_SECONDS)
            if self._start.is_alive() or self._start_error:
                reason = self._start_error or f"it has not answered within {endings.STOP_SECONDS:g} s"
                raise RuntimeError(f"Docker has given up the start of the copy: {reason}")

    def _plugged_addresses(self) -> Addresses:
        """Return the addresses at which the outside reaches the container, and note the others that Docker gave it.

        ``inspect`` of a gated container would block.

        :raises LookupError: it has none; or not those that it keeps.
        """
        plugged: dict[str, Addresses] = {}
        order: dict[str, Leading] = {}
        priorities = creation.priorities(self.document["create"])
        for network in self.docker.request("GET", "/networks"):
            name, details = network["Name"], self.docker.request("GET", f"/networks/{network['Id']}")
            entry = (details.get("Containers") or {}).get(self.container_id)
            if not entry:
                continue
            found = (entry.get("IPv4Address") or "", entry.get("IPv6Address") or "")
            plugged[name] = Addresses(*(each.partition("/")[0] for each in found))
            if plugged[name].ip4:
                order[name] = Leading(not details.get("Internal"), bool(plugged[name].ip6), priorities.get(name, 0))
        first = first_network(order)
        if first is None:
            raise LookupError("Docker plugged no network into the container at the destination")
        if self.specification.companions:  # on Docker's own bridge nobody knows it by an address, and none is asked for
            for name, asked in creation.addresses_asked(self.document["create"]).items():
                if {*asked} - {*plugged.get(name, ()), ""}:
                    raise LookupError(
                        f"Docker has not given the container the address that it keeps in the network '{name}'"
                    )
        self.others = sorted({address for each in plugged.values() for address in each} - {*plugged[first], ""})
        return plugged[first]

    def _write_restore_options(self, mounts: dict[str, str], plain_cgroups: bool) -> None:
        """Tell CRIU what runc has no option for, or another opinion of: this file has the last word.

        :param mounts: what is on this host for every external mount that runc does not know.
        :param plain_cgroups: the tasks are to be in the cgroups that runc has made, where CRIU itself is started.
        """
        lines = ["network-lock skip", "verbosity=1", *self.restore_options]
        lines += [*(f'external "mnt[{key}]:{path}"' for key, path in mounts.items())]
        if plain_cgroups:
            lines.append("manage-cgroups=ignore")
        with open(f"{self.directory}/restore.conf", "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)
        self._make_empty()

    @staticmethod
    def _make_empty() -> None:
        """The empty directory that stands for everything the runtime hides: read-only, and a tmpfs like runc's own."""
        os.makedirs(paths.EMPTY, exist_ok=True)
        if not os.path.ismount(paths.EMPTY):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=4k,mode=755", "relocate", paths.EMPTY], check=True)

    # -- receiving --------------------------------------------------------------------------------------------------

    def accept_other(self, channel: Channel) -> None:
        """The source connects while the edge's channel is open as well: see :meth:`serve`."""
        if channel.peer != "source":
            channel.close()
            return
        threading.Thread(target=self._receive, args=(channel,), daemon=True).start()

    def await_edge(self) -> Channel:
        """Return the edge's channel, and go on accepting the source's in the background."""
        edge = super().await_edge()
        threading.Thread(target=self._accept_source, daemon=True).start()
        return edge

    def _accept_source(self) -> None:
        while not self.finished:
            try:
                channel = self.listener.accept(None)
            except OSError:
                return
            self.accept_other(channel)
            return

    def _receive(self, channel: Outlet) -> None:
        """Log, first copy, a restore that waits, delta and image: the gate opens the moment the last byte is here."""
        try:
            if self._image_asked:
                images.receive(self.docker, channel, self.document["image_id"], self.document["image_layers"])
                channel.send("loaded")
                if not self._made.wait(STAGE_SECONDS):
                    raise TimeoutError("the container was not made in time")
            log, file_trees = LogReceiver(self._log_path()), TreeReceiver(self._disk)
            receiver = Receiver(channel, [log, file_trees, OwnReceiver(self._directory()), ImageReceiver(self.images)])
            receiver.receive()
            self._log_stored.set()
            if not self._mounted.wait(STAGE_SECONDS):
                raise TimeoutError("the container's root file system was not mounted in time")
            file_trees.mounted(self.root, self.memory, self.volumes)
            channel.send("mounted")
            receiver.receive()
            self._disk.wait()
            channel.send("stored")
            receiver.receive()
            self._prime()
            channel.send("primed")
            receiver.receive()
            self.moments.mark("received")
            self._received(channel)
            self._restore(log.words)
        except Exception as error:
            self._broken = sentence(error)
            if not self._given_up:
                try:
                    self.say("failed", reason=sentence(error))
                except OSError:
                    pass
        finally:
            channel.close()

    def _received(self, _: Outlet) -> None:
        """Take note that everything is here, and ready to be restored."""

    def _directory(self) -> str:
        """Return Docker's directory of the copy; it goes when the copy is removed."""
        return f"{self.docker.info()['DockerRootDir']}/containers/{self.container_id}"

    def _log_path(self) -> str:
        driver = self.document["create"]["HostConfig"]["LogConfig"]["Type"]
        form = FORMATS.get(driver, FORMATS["json-file"])  # of another, nothing comes
        return f"{self._directory()}/{form.path(self.container_id)}"

    def _prime(self) -> None:
        """Have the restore started up to where it needs the image."""
        assert self.gate is not None
        self.journal.record(State.RESTORING)
        options = ["--lazy-pages"] if self.pages else []
        configuration = f"{self.directory}/restore.conf"
        with LAST_WORDS:
            self.gate.say("prime", images=self.images, work=self.work, configuration=configuration, options=options)
        primed = self._expect("primed", "the restore could not be prepared")
        self.commands.append(primed["command"])
        self._await_start()

    def _restore(self, words: list[list[str]]) -> None:
        assert self.gate is not None
        with LAST_WORDS:
            self.gate.print(words)
        if self.pages:
            self.pages.begin(self.container_id, self.pid)
        with LAST_WORDS:
            self.gate.say("restore")
        if self.severed:
            self._expect("silent", "CRIU could not restore the container")
            self.severed.mend()
            self.say("silent")
        prepared = self._expect("prepared", "CRIU could not restore the container")
        if self.pages:
            self.pages.await_restored()
        self._settle_tasks()
        binds.insist(self.shown, f"/proc/{self.pid}/root")
        self._disk.wait()  # what the volumes were brought in the freeze went there while CRIU restored
        self.moments.mark("prepared")
        with self._deciding:
            if self._given_up:
                raise RuntimeError("the move was called off")
            endings.insist_on_shim(self.gate)
            self.journal.record(State.PREPARED, limits=prepared["limits"])
        self.say("prepared")

    def _settle_tasks(self) -> None:
        """Give the copy's tasks, which wait to run, what CRIU does not. :raises Different: this host cannot."""
        with open(f"{self.images}/{paths.TASKS}", "rb") as file:
            described = tasks.read(file.read(tasks.MOST_BYTES + 1))
        pids = freezer.members(freezer.freezer_of(self.pid, self.container_id))
        tasks.settle(described, pids)
        self._settle_unix_sockets(pids)
        self._settle_peers(pids)

    def _beside(self, name: str, most: int) -> bytes:
        """Return what the source has told in a file beside the image, or an empty list: there is nothing of the kind.

        :param most: bytes that may be read; one more shows that there were too many.
        """
        try:
            with open(f"{self.images}/{name}", "rb") as file:
                return file.read(most + 1)
        except FileNotFoundError:
            return b"[]"

    def _settle_peers(self, pids: list[int]) -> None:
        """Insist that the copy's unix sockets name the peers that they named. :raises RuntimeError: one does not."""
        if told := unix_peers.read(self._beside(paths.NAMED, unix_peers.MOST_BYTES)):
            unix_peers.settle(told, tasks.numbers(pids))

    def _settle_unix_sockets(self, pids: list[int]) -> None:
        """Give the copy's unix sockets their files. :raises RuntimeError: one cannot have what it had."""
        if not (told := unix_sockets.read(self._beside(paths.SOCKETS, unix_sockets.MOST_BYTES))):
            return
        watched = watches.count(pids)
        unix_sockets.settle(told, tasks.numbers(pids), f"/proc/{self.pid}/root")
        watches.forget(pids)
        if watches.count(pids) != watched:
            raise RuntimeError(
                "a program of the container watches the file of a unix socket with inotify, and would not hear of it any more: "
                "have it watch the directory"
            )

    def _expect(self, event: str, problem: str) -> dict:
        assert self.gate is not None
        try:
            return self.gate.expect(event, endings.RESTORE_SECONDS)
        except GateFailed as error:
            raise RuntimeError(f"{problem}: {self._criu_words() or error}") from error

    def _criu_words(self) -> str:
        try:
            with open(f"{self.work}/restore.log", encoding="utf-8", errors="replace") as file:
                errors = [line.partition(") ")[2].strip() for line in file if "Error" in line]
        except OSError:
            return ""
        return errors[0] if errors else ""

    def on_place(self, message: dict) -> None:
        """Place the connection tracking entries of the flows, while the image is on its way."""
        host = self.specification.addresses
        for document in message["flows"]:
            flow = Flow.read(document)
            here = flow.local.address
            address = here if self.specification.companions else self.addresses.like(here)
            self.placed.append(place_on_destination(self.conntrack, flow, host, address))
        self.say("placed", flows=[flow.document() for flow in self.placed])

    def on_routed(self, _: dict) -> None:
        """The edge knows the new places: let the restored sockets speak."""
        assert self.gate is not None
        self.gate.say("routed")

    def renounce(self) -> bool:
        """Give up the right to vote; False when the word is given already."""
        with self._deciding:
            self._given_up = not self.bound
            return self._given_up

    # -- the verdict ------------------------------------------------------------------------------------------------

    def on_commit(self, _: dict) -> None:
        """The copy may run: say that this is accepted, then that it runs. Idempotent: a restarted edge says it again.

        Until it is accepted the edge holds the packets: the copy's kernel would acknowledge them, and a source that had to take
        over after all would never see them.
        """
        assert self.gate is not None
        gate = self.gate
        if self.journal.state is State.PREPARED:
            try:
                endings.insist_on_shim(gate)
            except (GateFailed, OSError) as error:
                raise RuntimeError(f"{endings.KEEPER_GONE}: {error}") from error
        first = endings.accept(self.journal, self.directory)
        if "running" not in self.moments:
            try:
                gate.say("commit")
            except OSError as error:
                if first:
                    raise RuntimeError(f"{endings.KEEPER_GONE}: {error}") from error
        self.say("accepted")
        if "running" not in self.moments:
            # the copy may run: the edge must not hear "failed", which would thaw the source
            try:
                resume = partial(gate.expect, "running", endings.RUNNING_SECONDS)
                if not endings.let_copy_run(self.docker, self.container_id, resume):
                    print(
                        "the keeper of the accepted copy is gone, and the copy does not run: it may have run",
                        flush=True,
                    )
                    return  # nobody may decide; recovery sees whether anything of it is left
            except GateFailed as error:
                raise RuntimeError(
                    f"the copy died while it was being resumed: {self._criu_words() or error}"
                ) from error
            self.moments.mark("running")
        self.say("running", address=self.addresses.ip4)
        endings.note_that_it_ran(self.journal)

    def on_drain(self, _: dict) -> None:
        """Say when the last page is here: the copy does not need its source any more."""
        drain.begin(self)

    def on_finish(self, _: dict) -> None:
        """The source is gone: the container is Docker's again, with the restart policy it came with."""
        if not self.journal.finished:
            endings.adopt_copy(self.journal, self.docker)
        timings = {
            "restore": self.moments.span("received", "prepared"),
            "resume": self.moments.span("prepared", "running"),
        }
        ended = endings.exit_code(self.docker, self.container_id)
        self.close(State.DONE)
        self.say("finished", timings_ns=timings, commands=self.commands, **ended)

    def on_roll_back(self, message: dict) -> None:
        """The edge's verdict. An edge that does not know it says so: what was heard first, counts."""
        if message.get("unless_accepted") and self.journal.state in AFTER_COMMIT:
            self.say("accepted")
        else:
            super().on_roll_back(message)

    def roll_back(self, reason: str) -> None:
        """Cancel the gated start and remove the container and every trace of it."""
        self._given_up = True
        endings.discard_copy(self.journal, self.docker, self.directory, lambda: self._cancel(reason))
        self.close(State.ROLLED_BACK, reason=reason)
        self.say_if_heard("rolled_back", commands=self.commands)

    def _cancel(self, reason: str) -> None:
        endings.cancel_gate(self.container_id, reason)
        if self._start is not None:
            self._start.join(endings.STOP_SECONDS)
