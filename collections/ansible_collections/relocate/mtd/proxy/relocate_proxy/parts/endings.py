# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a relocation ends for each part, and for each verdict. Each ending is written here, once.

Three callers take these steps: the part that has lived through the whole relocation, the part that its guardian started again
after a kill, and ``relocate recover``, when no process is left. So an ending needs nothing but the journal's facts and the
host, every step of it can be repeated, and its caller writes the final state when it returns.

===========  ===========================================  ====================================================
part         commit                                       rollback
===========  ===========================================  ====================================================
source       :func:`end_original`: kill what is frozen    :func:`give_original_back`: thaw it
             (one that was made anew elsewhere: stop it)  (nothing was done to it)
destination  :func:`accept`, :func:`let_copy_run`,        :func:`discard_copy`: cancel its start, remove it
             :func:`adopt_copy`: it is Docker's again
edge         :func:`turn_to_destination`                  :func:`turn_to_source`
===========  ===========================================  ====================================================
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable

from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from ansible_collections.relocate.mtd.plugins.module_utils import _kernel
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError
from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE

from ..files.binds import remove_probes
from ..host import limits, mounts, networks, paths, volumes
from ..host.cgroups import tasks_of
from ..host.docker import remove_container, restarts, set_restart_policy, stop_container
from ..memory import lazy_pages
from ..memory.strays import end_strays
from ..network import severed
from ..network.conntrack import Conntrack
from ..network.flows import Flow, forget_addresses, forget_on_host, give_back_on_edge, lead_on_edge
from ..network.packet_rules import PacketRules
from ..protocol.addresses import Addresses
from ..protocol.facts import DestinationFacts, SourceFacts
from ..protocol.journal import Journal
from ..protocol.states import AFTER_COMMIT, State
from ..protocol.words import sentence
from ..restore.keeper_client import SHIM_KILLED, GateFailed, KeeperClient, KeeperGone
from . import drain

GONE_SECONDS = 10.0
RESTORE_SECONDS = 120.0
#: From the word that a restored copy may run to the news that it does. The edge waits no longer either, and a destination that
#: waits hears no edge. A copy that takes longer is not lost: Docker and the kernel are asked then.
RUNNING_SECONDS = 30.0
STOP_SECONDS = 20.0
KEEPER_GONE = "the keeper of the restored copy is gone, and the copy with it"


def nothing() -> None:
    """Stand for a step that a caller does not have to take."""


class Attempts:
    """Steps of which each is to be taken even if the one before it failed; what failed is remembered in ``problems``."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._first: Exception | None = None

    def take(self, step: Callable[[], object]) -> bool:
        """Take a step; return whether it succeeded."""
        try:
            step()
        except Exception as error:
            self.problems.append(sentence(error))
            self._first = self._first or error
            return False
        return True

    def insist(self) -> None:
        """Raise the first error, if there was one: for a caller that will take all the steps again."""
        if self._first is not None:
            raise self._first


# -- the source ---------------------------------------------------------------------------------------------------------


def let_go(session: str) -> None:
    """Return when no process of a relocation is attached to the container. :raises TimeoutError: one does not let go."""
    lazy_pages.end_processes(session)
    end_strays(session)


def end_original(journal: Journal, docker: DockerClient, detach: Callable[[], None]) -> None:
    """The copy runs: kill the frozen container without a packet, remove it, and forget its connections.

    :param detach: ends what still works inside the frozen container.
    """
    if journal.state is not State.COMMITTED:
        journal.record(State.COMMITTED)
    facts = SourceFacts.of(journal)
    detach()
    remove_probes(facts.probes)
    if facts.mode == RECREATE:
        stop_container(docker, facts.container_id, facts.restart_policy)
    else:
        kill_frozen(freezer.Freezer(*facts.freezer), facts.veth)
    volumes.put_aside(docker, facts.volumes, facts.container_id, facts.container, journal.relocation)
    remove_container(docker, facts.container_id)
    volumes.remove_left(docker, facts.volumes, facts.container_id)
    table = Conntrack()
    for flow in Flow.read_all(facts.flows):  # another container may get the address
        forget_on_host(table, flow)
    table.close()


def give_original_back(
    journal: Journal, docker: DockerClient, detach: Callable[[], None], thawed: Callable[[], None] = nothing
) -> None:
    """The container runs on here: thaw it first, for clients wait; then give it its restart policy back.

    :param detach: ends what still works inside the frozen container: it must not be thawed under that.
    :param thawed: what can wait until the container runs.
    """
    facts = SourceFacts.of(journal)
    detach()
    if facts.mode == RECREATE:  # nothing was done to it
        thawed()
        remove_probes(facts.probes)
        return
    limits.set_again(limits.Limit(*each) for each in facts.limits)
    at = freezer.Freezer(*facts.freezer)
    if facts.severed:
        severed.mend(freezer.members(at))
    freezer.thaw(at)
    thawed()
    remove_probes(facts.probes)
    if restarts(facts.restart_policy):
        set_restart_policy(docker, facts.container_id, facts.restart_policy)
        _start_if_ended(docker, journal)


def _start_if_ended(docker: DockerClient, journal: Journal) -> None:
    """Start a container that ended while its restart policy was put aside, by itself or with its host; Docker did not.

    One that somebody stopped meanwhile stays stopped. Docker remembers such events for as long as its daemon lives.
    """
    container_id = SourceFacts.of(journal).container_id
    found = docker.container(container_id)
    if found is None or found["State"]["Running"]:
        return
    begun = min(journal.times.values()) / 1e9
    if not docker.happened(container_id, ("stop", "kill"), begun):
        docker.start(container_id)


def kill_frozen(at: freezer.Freezer, veth: str | None) -> None:
    """End a frozen container without a packet: its link down, SIGKILL to all, then thaw, for only then do they die.

    :raises OSError: its link is up, and stays so: its sockets would say farewell to clients that the copy serves.
    """
    if veth and os.path.exists(f"/sys/class/net/{veth}"):
        done = subprocess.run(["ip", "link", "set", veth, "down"], capture_output=True, text=True, check=False)
        if done.returncode and os.path.exists(f"/sys/class/net/{veth}"):
            raise OSError(
                f"the link {veth} of the container that has moved away cannot be set down: {done.stderr.strip()}"
            )
    for pid in freezer.members(at):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    freezer.thaw(at)
    deadline = time.monotonic() + GONE_SECONDS
    while freezer.members(at) and time.monotonic() < deadline:
        time.sleep(0.005)


# -- the destination ----------------------------------------------------------------------------------------------------


def accept(journal: Journal, session: str, living: bool = True) -> bool:
    """Write down that the copy may run; return whether that was news.

    :param living: see :func:`drain.accept_verdict`.
    :raises PagesLost: in a post-copy, when memory will be missing: the copy has not run an instruction, and must not.
    """
    if journal.state is not State.PREPARED:
        return False
    drain.accept_verdict(journal, session, living)
    return True


def let_copy_run(docker: DockerClient, container_id: str, resume: Callable[[], object] | None = None) -> bool:
    """Have the keeper of an accepted copy resume it, if it has not; return whether the copy runs.

    A keeper that is gone proves nothing: it may have resumed the copy before. Docker knows.

    :param resume: asks a keeper that the caller is connected to already.
    :raises GateFailed: the keeper says that the copy died while it was resumed.
    """
    if resume is None and not os.path.exists(paths.gate(container_id)):
        return runs(docker, container_id)
    try:
        (resume or (lambda: open_gate(container_id)))()
    except (KeeperGone, OSError):
        return runs(docker, container_id)
    return True


def open_gate(container_id: str) -> None:
    """Tell the keeper of a restored container that it may run.

    :raises GateFailed: the copy died; :raises KeeperGone: nobody knows; :raises OSError: there is no keeper.
    """
    gate = KeeperClient(container_id)
    try:
        gate.attach(1.0)
        gate.say("commit")
        gate.expect("running", RUNNING_SECONDS)
    finally:
        gate.close()


def runs(docker: DockerClient, container_id: str) -> bool:
    """Return whether a copy runs that was let run, or was not: nobody knows but Docker and the kernel.

    Docker takes it for running from before it was restored. A CRIU that holds it still will let it go, or kill it.
    """
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            found = docker.container(container_id)
        except DockerError:  # it may be starting itself
            time.sleep(0.05)
            continue
        if found is None or not found["State"]["Running"]:
            return False
        if not _held_by_criu(found["State"]["Pid"]):
            return True
        time.sleep(0.05)
    return False


def _held_by_criu(pid: int) -> bool:
    """Return whether a process is traced by CRIU, or has just ended: Docker will hear of that."""
    try:
        status = dict(line.split(":", 1) for line in _kernel.lines(_kernel.read_text(f"/proc/{pid}/status")))
        tracer = int(status["TracerPid"])
        return bool(tracer) and _kernel.read_text(f"/proc/{tracer}/comm").strip() == "criu"
    except (FileNotFoundError, ProcessLookupError):
        return True


def insist_on_shim(keeper: KeeperClient) -> None:
    """See that the shim of a restored copy lives: containerd ends a container whose shim was killed, after a moment.

    :raises RuntimeError: it is dead; :raises GateFailed: the keeper has given up, or is gone; :raises OSError: so it is.
    """
    if not keeper.ask().get("shim"):
        raise RuntimeError(SHIM_KILLED)


def insist_on_copy(container_id: str) -> None:
    """See that a restored copy still waits for the verdict, where another process has seen to that.

    :raises RuntimeError: it does not.
    """
    keeper = KeeperClient(container_id)
    try:
        keeper.attach(1.0)
        insist_on_shim(keeper)
    except (GateFailed, OSError) as error:
        raise RuntimeError(f"{KEEPER_GONE}: {error}") from error
    finally:
        keeper.close()


def note_that_it_ran(journal: Journal) -> None:
    """Write down that the copy has run: from now on its end is its own, and its source must never run again.

    A disk that refuses must not stop a commit. Whoever recovers it then has to ask the operator, should the copy end.
    """
    if journal.state in AFTER_COMMIT and not journal.finished and not DestinationFacts.of(journal).ran:
        with contextlib.suppress(OSError):
            journal.record(journal.state, ran=True)


def has_run(docker: DockerClient, journal: Journal) -> bool:
    """Return whether a copy that has ended had run: by itself, or with its host. Then its source must never run again."""
    facts = DestinationFacts.of(journal)
    found = docker.container(facts.container_id)
    return facts.ran and found is not None and not found["State"]["Running"]


def died_unrun(docker: DockerClient, journal: Journal) -> bool:
    """Return whether a copy was restored, is dead, and is not known to have run: nobody can let it run any more.

    :raises DockerError: Docker does not say.
    """
    facts = DestinationFacts.of(journal)
    if journal.state not in (State.PREPARED, State.COMMITTED) or facts.ran or facts.mode == RECREATE:
        return False
    with contextlib.suppress(RuntimeError):
        insist_on_copy(facts.container_id)
        return False  # it waits in its keeper
    found = docker.container(facts.container_id)
    if found is None:  # somebody has removed it, and knows why
        return False
    return not runs(docker, facts.container_id) and not tasks_of(facts.container_id)


def adopt_copy(journal: Journal, docker: DockerClient) -> None:
    """Make the copy Docker's own: no marker, and the restart policy that it came with.

    One that has ended meanwhile, because the last of its memory was lost, with its host, or by itself, is started afresh if its
    policy says so: Docker did not, for it had no policy yet.

    :raises DockerError: it runs, and Docker does not know it: its daemon was killed in this very moment. To start it would make
        a second one.
    """
    facts = DestinationFacts.of(journal)
    limits.set_again(limits.Limit(*each) for each in facts.limits)  # the keeper has, if nobody has killed it
    KeeperClient.forget(facts.container_id)
    mounts.unmount_left(facts.container_id)
    insist_that_docker_knows(docker, facts.container_id)
    if not restarts(facts.restart_policy):
        return
    found = docker.container(facts.container_id)
    if found is None:  # somebody removed what was left
        return
    set_restart_policy(docker, facts.container_id, facts.restart_policy)
    succeeded = facts.restart_policy.get("Name") == "on-failure" and not found["State"].get("ExitCode")
    if not found["State"]["Running"] and not succeeded:
        docker.start(facts.container_id)


def exit_code(docker: DockerClient, container_id: str) -> dict[str, int]:
    """Return as ``exit_code`` how a copy that has run has ended; nothing if it runs, or nobody knows."""
    with contextlib.suppress(DockerError):
        found = docker.container(container_id)
        if found and not found["State"]["Running"]:
            return {"exit_code": found["State"]["ExitCode"]}
    return {}


def insist_that_docker_knows(docker: DockerClient, container_id: str) -> None:
    """See that a copy which runs is Docker's. :raises DockerError: Docker was killed in the moment in which it began to run."""
    found = docker.container(container_id)
    if found is None or found["State"]["Running"] or not container_id:
        return
    tasks = tasks_of(container_id)
    if tasks:
        pids = " ".join(map(str, tasks))
        raise DockerError(
            0,
            f"the copy runs, but Docker was killed before it knew so, and cannot manage it: end it (kill -9 {pids}) and start "
            "the container anew, then run recover.yml",
        )


def discard_copy(journal: Journal, docker: DockerClient, session: str, cancel: Callable[[], None]) -> None:
    """The container runs on at the source: remove its copy and every trace of it.

    :param cancel: makes the keeper give up, and returns when ``docker start`` has ended: removing a container that is being
        started would block.
    :raises OSError: the entries of its address could not be removed; all the rest is.
    """
    facts = DestinationFacts.of(journal)
    cancel()
    lazy_pages.end_processes(session)
    attempts = Attempts()
    if facts.address:  # while it is the copy's: the next container may get it
        attempts.take(lambda: _forget([facts.address, facts.address6, *facts.other_addresses]))
    container_id = facts.container_id or provisional_name(facts.container, os.path.basename(session))
    KeeperClient.forget(container_id)
    mounts.unmount_left(container_id)
    remove_container(docker, container_id)
    for name in facts.volumes:
        volumes.unmake(docker, name, begun(journal))
    if facts.networks:
        with networks.one_at_a_time():
            networks.unmake(docker, facts.networks, begun(journal))
    attempts.insist()


def _forget(addresses: list[str]) -> None:
    table = Conntrack()
    try:
        forget_addresses(table, addresses)
    finally:
        table.close()


def begun(journal: Journal) -> float:
    """Return when a part began, in seconds since the epoch."""
    return min(journal.times.values()) / 1e9


def cancel_gate(container_id: str, reason: str) -> None:
    """Make the keeper of a container give up, if there is one, and wait until its start has ended."""
    if not container_id or not os.path.exists(paths.gate(container_id)):
        return
    gate = KeeperClient(container_id)
    try:
        gate.attach(1.0)
        gate.say("cancel", reason=reason)
        gate.expect("cancelled", STOP_SECONDS)
    except KeeperGone:
        return
    except GateFailed:
        pass
    except OSError:  # nobody listens: it was killed
        return
    finally:
        gate.close()
    deadline = time.monotonic() + STOP_SECONDS
    while os.path.exists(paths.gate(container_id)) and time.monotonic() < deadline:
        time.sleep(0.02)


def provisional_name(container: str, relocation: str) -> str:
    """Return the name that a copy is made under: it can be found, and is surely ours, before its id is on the disk."""
    return f"{container}.{relocation}"


# -- the edge -----------------------------------------------------------------------------------------------------------


def turn_to_destination(gateway: PacketRules, table: Conntrack, host: Addresses, moved: Iterable[Flow]) -> None:
    """Point the services and their connections at the destination ``host``, whatever they pointed at before."""
    for flow in moved:
        lead_on_edge(table, flow)  # the copy may run, and its clients talk to it
    gateway.route(host)


def turn_to_source(
    gateway: PacketRules,
    table: Conntrack,
    host: Addresses,
    flows: Iterable[Flow],
    *,
    reopened: Callable[[], None] = nothing,
) -> Attempts:
    """Give the services and their connections back to the source ``host``: a step that fails keeps no other from being taken.

    The order counts. Entries come first, and the old place is reopened before the source may speak: an answer of it that
    is dropped would come again only after a retransmission timeout. The held packets need not wait for the thaw: the
    source's kernel takes them for the frozen process.

    :param reopened: is called when the source may speak.
    """
    attempts = Attempts()
    attempts.take(lambda: give_back_on_edge(table, flows))
    attempts.take(gateway.reopen)
    attempts.take(reopened)
    attempts.take(lambda: gateway.route(host))
    attempts.take(gateway.release)
    return attempts
