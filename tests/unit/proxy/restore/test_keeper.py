# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper: what it takes from its command line and from cgroup paths, and its rules at the gate."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from relocate_proxy.host import cgroups, paths, syscalls
from relocate_proxy.host.limits import Limit
from relocate_proxy.restore import keeper
from relocate_proxy.restore.keeper import Keeper, Runtime

SHIM = (
    "--root /var/run/docker/runtime-runc/moby --log /b/log.json --log-format json {more}create --bundle /b "
    "--pid-file /b/init.pid {id}"
)
ID = "c" * 64


def test_the_shims_command_line() -> None:
    """As containerd calls a runtime."""
    runtime = Runtime(SHIM.format(id=ID, more="").split())
    assert (runtime.command, runtime.container, runtime.root) == ("create", ID, "/var/run/docker/runtime-runc/moby")
    assert (runtime.log, runtime.bundle, runtime.pid_file) == ("/b/log.json", "/b", "/b/init.pid")
    assert not runtime.systemd_cgroup
    assert Runtime(SHIM.format(id=ID, more="--systemd-cgroup ").split()).systemd_cgroup


def test_the_other_forms_of_its_options() -> None:
    """runc takes an equals sign, and a short name for the bundle; what is missing has runc's defaults."""
    runtime = Runtime(["--root=/r", "start", "-b", "/bundle", ID])
    assert (runtime.command, runtime.root, runtime.bundle, runtime.log) == ("start", "/r", "/bundle", os.devnull)
    assert Runtime(["start", ID]).root == "/run/runc"


# -- cgroups ------------------------------------------------------------------------------------------------------------


def hierarchy(directory: Path, *names: str) -> None:
    """Make version 1 hierarchies, or a version 2 one."""
    for name in names:
        (directory / name).mkdir(parents=True)
        (directory / name / "cgroup.procs").touch()


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Put cgroups below a directory; return what is written into which ``cgroup.procs``."""
    monkeypatch.setattr(cgroups, "CGROUPS", str(tmp_path))
    written: dict[str, bytes] = {}
    names: dict[int, str] = {}
    open_, write = os.open, os.write

    def opened(path: str, flags: int, *mode: int) -> int:
        fd = open_(path, flags | os.O_CREAT, *mode) if str(path).endswith("cgroup.procs") else open_(path, flags, *mode)
        names[fd] = str(path)
        return fd

    def wrote(fd: int, data: bytes) -> int:
        if names.get(fd, "").endswith("cgroup.procs"):
            written[str(Path(names[fd]).parent.relative_to(tmp_path))] = bytes(data)
        return write(fd, data)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "write", wrote)
    return written


def test_every_version_1_hierarchy_is_joined_but_systemds(joined: dict[str, bytes], tmp_path: Path) -> None:
    """A symbolic link names a hierarchy a second time, and a directory without tasks is none."""
    hierarchy(tmp_path, "memory", "cpu,cpuacct", "systemd", "unified")
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    (tmp_path / "nothing").mkdir()
    cgroups.join_cgroups("/docker/abc")
    assert joined == {"memory/docker/abc": b"0", "cpu,cpuacct/docker/abc": b"0"}


def test_cpusets_are_filled_from_the_top_first(joined: dict[str, bytes], tmp_path: Path) -> None:
    """An empty one takes no task."""
    hierarchy(tmp_path, "cpuset")
    for name, value in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        for directory in ("cpuset", "cpuset/docker", "cpuset/docker/abc"):
            (tmp_path / directory).mkdir(exist_ok=True)
            (tmp_path / directory / name).write_text(value if directory == "cpuset" else "")
    cgroups.join_cgroups("/docker/abc")
    for directory in ("docker", "docker/abc"):
        assert (tmp_path / "cpuset" / directory / "cpuset.cpus").read_text() == "0-1\n"
        assert (tmp_path / "cpuset" / directory / "cpuset.mems").read_text() == "0\n"
    assert joined == {"cpuset/docker/abc": b"0"}


def test_version_2_has_one_hierarchy(joined: dict[str, bytes], tmp_path: Path) -> None:
    """Its directories are cgroups, not hierarchies."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "cgroup.procs").touch()
    hierarchy(tmp_path, "system.slice")
    cgroups.join_cgroups("/docker/abc")
    assert joined == {"docker/abc": b"0"}


def test_under_systemds_driver_nothing_is_joined(joined: dict[str, bytes], tmp_path: Path) -> None:
    """The scope is made when runc restores."""
    hierarchy(tmp_path, "memory")
    cgroups.join_cgroups("system.slice:docker:abc")
    assert joined == {} and not (tmp_path / "memory" / "docker").exists()


def test_a_controller_we_may_not_use_stops_nobody(
    joined: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are joined, and the log has the reason."""
    hierarchy(tmp_path, "memory", "rdma")
    makedirs = os.makedirs

    def refuse(path: str, **options: Any) -> None:
        if "rdma" in path:
            raise PermissionError(13, "Permission denied")
        makedirs(path, **options)

    monkeypatch.setattr(os, "makedirs", refuse)
    cgroups.join_cgroups("/docker/abc")
    assert joined == {"memory/docker/abc": b"0"}
    assert "rdma/docker/abc: [Errno 13] Permission denied" in capsys.readouterr().err


# -- at the gate --------------------------------------------------------------------------------------------------------


class Scene:
    """A keeper whose holder and runc are nobody, and the sockets of those who talk to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
        bundle = host / "bundle"
        bundle.mkdir()
        config = {
            "ociVersion": "1.0",
            "root": {"path": "/merged"},
            "hooks": {"prestart": []},
            "linux": {
                "cgroupsPath": "/docker/abc",
                "sysctl": {"net.ipv4.ping_group_range": "0 1"},
                "namespaces": [{"type": "pid"}, {"type": "network"}],
            },
        }
        (bundle / "config.json").write_text(json.dumps(config))
        for directory in (paths.GATES, paths.EXPECTED):
            paths.private_directory(directory)
        Path(paths.marker(ID)).write_text(str(host))
        self.did: list[str] = []

        def holder(path: str, sysctls: dict[str, str]) -> int:
            assert sysctls == {"net.ipv4.ping_group_range": "0 1"}
            self.did.append(f"holder in {path}")
            return 4711

        monkeypatch.setattr(keeper, "start_holder", holder)
        monkeypatch.setattr(os, "kill", lambda pid, number: self.did.append(f"kill {pid} {number}"))
        monkeypatch.setattr(syscalls, "stand_in", lambda pid: self.did.append(f"stand-in {pid}"))
        monkeypatch.setattr(syscalls, "in_network", lambda path, work: self.did.append(f"{work.__name__} {path}"))
        waitpid = os.waitpid

        def reap(pid: int, options: int) -> tuple[int, int]:
            if pid != 4711:
                return waitpid(pid, options)
            self.did.append(f"reap {pid}")
            return pid, 0

        monkeypatch.setattr(os, "waitpid", reap)
        monkeypatch.setattr(keeper, "leave_cgroups", lambda pid: self.did.append(f"{pid} leaves the cgroups"))
        monkeypatch.setattr(keeper, "subprocess", SimpleNamespace(Popen=self.run, run=subprocess.run))
        self.limits = [Limit("/cg/pids.max", "2", "max")]
        set_again = [self.limits, []]  # CRIU's memory is not free at once
        monkeypatch.setattr(keeper.limits, "find", lambda pid: self.limits if pid == os.getpid() else [])
        monkeypatch.setattr(keeper.limits, "lift", lambda found: self.did.append(f"lift {len(found)}"))
        monkeypatch.setattr(keeper.limits, "set_again", lambda _: self.did.append("set") or set_again.pop(0))
        monkeypatch.setattr(Keeper, "_namespace_path", lambda _: "/run/docker/netns/x")
        self.bundle = bundle
        self.keeper = Keeper(
            Runtime(["create", "--bundle", str(bundle), "--pid-file", str(bundle / "pid"), ID]), [0, 1, 2]
        )
        self.ends = {name: socket.socketpair() for name in ("starter", "proxy", "criu")}
        self.starter, self.proxy, self.criu = (ours for ours, _ in self.ends.values())
        self.criu.settimeout(60)

    def run(self, command: list[str], env: dict[str, str], extra_groups: list[int], **_: Any) -> SimpleNamespace:
        """Note what would be run. It does not end."""
        assert extra_groups == []
        self.did.append(f"run {' '.join(command)} with {env['RELOCATE_PID']} ")
        return SimpleNamespace(wait=threading.Event().wait, pid=os.getpid())

    def do(self, who: str, **message: Any) -> None:
        """Let somebody say something to the keeper."""
        ours, theirs = self.ends[who]
        ours.sendall(json.dumps(message).encode() + b"\n")
        self.keeper._hear(theirs)

    def heard(self, who: str) -> list[dict]:
        """Return what the keeper has said to somebody since the last call."""
        end = self.ends[who][0]
        end.setblocking(False)
        try:
            return [json.loads(line) for line in end.recv(65536).splitlines()]
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Close everything that it opened."""
        keeper = self.keeper
        for end in (
            *(end for pair in self.ends.values() for end in pair),
            keeper.gate,
            keeper.verdicts,
            keeper.selector,
        ):
            end.close()
        for fd in (keeper.runc_ended, keeper._runc_end):
            os.close(fd)

    def gated(self) -> None:
        """Bring it to the gate."""
        self.do("proxy", do="attach")
        self.do("starter", do="start")

    def prepared(self) -> None:
        """Bring it to where the restored copy waits."""
        self.restoring()
        self.asks("p")

    def asks(self, what: str) -> None:
        """Let criu ask for the images ("i") or for the verdict ("p")."""
        self.criu.sendall(what.encode())
        self.keeper._accept_criu(SimpleNamespace(accept=lambda: (self.ends["criu"][1], None)))

    def primed(self) -> None:
        """Bring it to where criu waits for the images."""
        self.gated()
        self.do("proxy", do="prime", images="/i", work="/w", configuration="/c", options=["--lazy-pages"])
        self.asks("i")

    def restoring(self) -> None:
        """Bring it to where criu is at work."""
        self.primed()
        self.do("proxy", do="restore")
        assert self.criu.recv(10) == b"o"


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, host: Path) -> Iterator[Scene]:
    """Return a keeper that has just been made."""
    made = Scene(monkeypatch, host)
    yield made
    made.close()


def test_the_placeholders_pid_is_reported_whole(scene: Scene) -> None:
    """containerd reads the file as soon as it is there."""
    scene.keeper.report_pid()
    assert {path.name for path in scene.bundle.iterdir()} == {"config.json", "pid"}
    assert (scene.bundle / "pid").read_text() == "4711" and scene.did == ["holder in /docker/abc"]


def test_a_hook_that_fails_is_dockers_words(scene: Scene) -> None:
    """The network could not be plugged in: the start must fail."""
    scene.keeper.config["hooks"]["prestart"] = [{"path": "/bin/sh", "args": ["sh", "-c", "cat >&2; exit 1"]}]
    with pytest.raises(OSError, match=r"Docker's network hook failed: \{.*\"pid\": 4711"):
        scene.keeper.plug_network()


def test_start_points_the_bundle_at_the_namespace(scene: Scene) -> None:
    """And drops the hooks, which would plug a second network in."""
    scene.gated()
    config = json.loads((scene.bundle / "config.json").read_text())
    assert "hooks" not in config
    assert config["linux"]["namespaces"] == [{"type": "pid"}, {"type": "network", "path": "/run/docker/netns/x"}]
    assert scene.heard("proxy") == [
        {"event": "gated", "pid": 4711, "network": "/run/docker/netns/x", "root": "/merged"}
    ]
    assert scene.heard("starter") == [], "docker start waits"


def test_limits_are_lifted_while_criu_works(scene: Scene) -> None:
    """From when runc has made the control groups until CRIU has ended, which is one of the container's processes till then."""
    scene.prepared()
    assert scene.did.count("lift 1") == 1 and "set" not in scene.did
    assert scene.heard("proxy")[-1]["limits"] == [["/cg/pids.max", "2", "max"]], "for whoever has to do it in our place"
    scene.do("proxy", do="commit")
    scene.keeper.runc_status = 0
    scene.keeper._restored(None)
    assert scene.did[-2:] == ["set", "set"]


def test_who_attaches_later_hears_how_it_stands(scene: Scene) -> None:
    """A proxy that was killed comes back."""
    scene.prepared()
    scene.heard("proxy")
    scene.do("proxy", do="attach")
    assert scene.heard("proxy")[0]["event"] == "prepared"


def test_a_commit_lets_the_copy_run_once(scene: Scene) -> None:
    """And only a copy that is prepared."""
    scene.gated()
    scene.do("proxy", do="commit")
    assert scene.heard("criu") == [] and scene.keeper.state == "gated"
    scene.prepared()
    for _ in range(2):
        scene.do("proxy", do="commit")
    scene.criu.setblocking(False)
    assert scene.criu.recv(10) == b"c" and scene.keeper.state == "resuming"
    scene.keeper.runc_status = 0
    scene.keeper._restored(None)
    assert scene.heard("proxy")[-1]["event"] == "running" and scene.heard("starter") == [{"status": 0}]
    assert scene.keeper.finished and "stand-in 4711" not in scene.did


def test_a_cancel_at_the_gate_ends_the_placeholder(scene: Scene) -> None:
    """docker start fails, and nothing was restored."""
    scene.gated()
    scene.do("proxy", do="cancel", reason="the source's disk failed")
    assert scene.heard("proxy")[-1] == {"event": "cancelled", "reason": "the source's disk failed"}
    assert scene.heard("starter") == [{"status": 1}] and f"kill 4711 {signal.SIGKILL:d}" in " ".join(scene.did).replace(
        "Signals.SIGKILL", str(int(signal.SIGKILL))
    )
    assert scene.keeper.finished


@pytest.mark.parametrize("early", [True, False])
def test_the_copys_sockets_wait_for_the_routes(scene: Scene, early: bool) -> None:
    """Where they are known already, nobody waits."""
    scene.restoring()
    if early:
        scene.do("proxy", do="routed")
    scene.asks("s")
    if not early:
        scene.criu.setblocking(False)
        with pytest.raises(BlockingIOError):
            scene.criu.recv(10)
        assert scene.keeper.state == "silent"
        scene.do("proxy", do="routed")
    assert scene.criu.recv(10) == b"o" and scene.keeper.state == "restoring"
    scene.asks("p")
    assert scene.keeper.state == "prepared"


@pytest.mark.parametrize("late", [True, False])
def test_a_cancel_of_a_silent_copy(scene: Scene, late: bool) -> None:
    """Nothing is said, whenever the cancel comes."""
    scene.restoring()
    if late:
        scene.asks("s")
    scene.do("proxy", do="cancel", reason="x")
    if not late:
        scene.do("proxy", do="routed")
        scene.asks("s")
    assert scene.criu.recv(10) == b"x" and scene.did[-1] == "links_down /run/docker/netns/x"
    scene.do("proxy", do="routed")
    assert scene.keeper.state == "cancelling"


def test_a_cancel_of_a_restored_copy_silences_it_first(scene: Scene) -> None:
    """Its sockets are live: no FIN of theirs may get out. The shim then sees the pid end."""
    scene.prepared()
    scene.do("proxy", do="cancel", reason="x")
    assert scene.did[-1] == "links_down /run/docker/netns/x" and scene.criu.recv(10) == b"x"
    assert not scene.keeper.finished
    scene.keeper.runc_status = 1
    scene.keeper._restored(None)
    assert scene.did[-1] == "stand-in 4711" and scene.heard("proxy")[-1] == {"event": "cancelled", "status": 1}
    assert scene.heard("starter") == [{"status": 0}], "its start was answered long ago: Docker sees it end"


def test_docker_hears_that_the_copy_runs_when_the_restore_waits_for_memory(scene: Scene) -> None:
    """Not earlier: a first copy may take minutes. Not later: from the freeze on dockerd may be killed."""
    scene.gated()
    scene.do("proxy", do="prime", images="/i", work="/w", configuration="/c", options=[])
    assert scene.heard("starter") == []
    scene.asks("i")
    assert scene.heard("starter") == [{"status": 0}]


def test_a_start_that_is_not_wanted_any_more_fails(scene: Scene) -> None:
    """The cancel came while runc was at work."""
    scene.gated()
    scene.do("proxy", do="prime", images="/i", work="/w", configuration="/c", options=[])
    scene.do("proxy", do="cancel", reason="x")
    scene.asks("i")
    assert scene.heard("starter") == [] and scene.criu.recv(10) == b"x"
    scene.keeper.runc_status = 1
    scene.keeper._restored(None)
    assert scene.heard("starter") == [{"status": 1}]


def test_the_restore_is_started_before_there_is_an_image(scene: Scene) -> None:
    """Into empty cgroups, under the placeholder's pid; the placeholder stays until the gate opens."""
    scene.primed()
    command = scene.did[2]
    assert scene.did[1] == "4711 leaves the cgroups" and "restore --detach" in command and "--lazy-pages" in command
    assert "--image-path /i --work-path /w" in command and command.endswith("with 4711 ")
    assert scene.did[3:] == ["lift 1"]
    primed = scene.heard("proxy")[-1]
    assert (primed["event"], primed["pid"]) == ("primed", 4711)
    assert " ".join(primed["command"]) in command, "what runs here is in the result"
    scene.do("proxy", do="restore")
    assert scene.did[4:] == [f"kill 4711 {signal.SIGKILL!s}", "reap 4711"] and scene.criu.recv(10) == b"o"
    assert json.loads((scene.bundle / "config.json").read_text())["annotations"] == {"org.criu.config": "/c"}


def test_a_gate_opens_only_for_a_restore_that_waits(scene: Scene) -> None:
    """The placeholder must not go before."""
    scene.gated()
    scene.do("proxy", do="restore")
    assert scene.keeper.holder_alive and scene.keeper.state == "gated"


def test_a_cancel_before_the_image_ends_criu_and_then_the_placeholder(scene: Scene) -> None:
    """Nothing has been made yet: no links need to go down, and no stand-in is needed, for the placeholder is there."""
    scene.primed()
    scene.do("proxy", do="cancel", reason="x")
    assert scene.criu.recv(10) == b"x" and not scene.keeper.finished
    scene.keeper.runc_status = 1
    scene.keeper._restored(None)
    assert scene.did[-1].startswith("kill 4711") and scene.heard("proxy")[-1] == {"event": "cancelled", "status": 1}
    assert scene.heard("starter") == [{"status": 0}] and not any(done.startswith("links_down") for done in scene.did)


def test_a_runc_that_fails_before_the_image_ends_the_placeholder(scene: Scene) -> None:
    """docker start fails, with its words in the log."""
    scene.gated()
    scene.do("proxy", do="prime", images="/i", work="/w", configuration="/c")
    scene.keeper.runc_status = 1
    scene.keeper._restored(None)
    assert scene.did[-1].startswith("kill 4711") and scene.heard("proxy")[-1] == {"event": "failed", "status": 1}


@pytest.mark.parametrize(("begun", "asks"), [("priming", "i"), ("restoring", "p")])
def test_a_cancel_while_criu_is_at_work_is_its_answer(scene: Scene, begun: str, asks: str) -> None:
    """It cannot be stopped in the middle: it is told when it asks."""
    if begun == "restoring":
        scene.restoring()
    else:
        scene.gated()
        scene.do("proxy", do="prime", images="/i", work="/w", configuration="/c")
    scene.do("proxy", do="cancel", reason="x")
    assert not scene.keeper.finished and scene.keeper.state == begun
    scene.asks(asks)
    assert scene.criu.recv(10) == b"x"
    assert ("links_down /run/docker/netns/x" in scene.did) == (asks == "p")
    assert "running" not in [event["event"] for event in scene.heard("proxy")]


def test_a_criu_that_never_asks_is_killed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs for good when somebody else kills the init that it restores: containerd does, after a shim that was killed."""
    killed: list[int] = []

    def kill(process: int, number: int) -> None:
        killed.append(number)
        scene.keeper.runc_status = 137
        os.write(scene.keeper._runc_end, b"e")

    monkeypatch.setattr(signal, "pidfd_send_signal", kill)
    monkeypatch.setattr(keeper, "ANSWER_SECONDS", 0.1)
    scene.restoring()

    def removed(*_: Any) -> None:
        scene.did.append("links down")
        raise FileNotFoundError("Docker has removed the network, too")

    monkeypatch.setattr(syscalls, "in_network", removed)
    scene.do("proxy", do="cancel", reason="the shim was killed")
    scene.keeper.selector.register(scene.ends["proxy"][1], 1, scene.keeper._hear)
    serving = threading.Thread(target=scene.keeper.serve, daemon=True)
    serving.start()
    serving.join(10)
    assert not serving.is_alive() and set(killed) == {signal.SIGKILL} and "links down" in scene.did
    assert scene.keeper.finished and scene.heard("proxy")[-1] == {"event": "failed", "status": 137}


def test_a_commit_after_a_cancel_is_too_late(scene: Scene) -> None:
    """There are no two verdicts."""
    scene.prepared()
    scene.do("proxy", do="cancel", reason="x")
    scene.do("proxy", do="commit")
    assert scene.criu.recv(10) == b"x"


def test_a_restore_that_fails_leaves_no_shim_waiting(scene: Scene) -> None:
    """Nothing runs under the pid it was told."""
    scene.restoring()
    scene.keeper.runc_status = 1
    scene.keeper._restored(None)
    assert scene.did[-1] == "stand-in 4711"
    assert scene.heard("proxy")[-1] == {"event": "failed", "status": 1} and scene.heard("starter") == [{"status": 0}]


@pytest.mark.parametrize(("namespace", "dies"), [("its own", True), ("another's", True), ("its own", False)])
def test_a_runc_that_fails_is_no_proof_that_the_copy_is_dead(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, namespace: str, dies: bool
) -> None:
    """Killed itself after the commit, it leaves a copy that runs: that is ended before anybody hears "failed".

    A pid that is somebody else's by now is left alone; a copy that does not die is not called dead.
    """
    scene.prepared()
    scene.do("proxy", do="commit")
    scene.heard("proxy")
    scene.keeper._at_work.clear()  # that is we
    with subprocess.Popen(["sleep", "60"]) as copy:
        scene.keeper.holder = copy.pid
        scene.keeper.network = f"/proc/{copy.pid}/ns/net" if namespace == "its own" else str(tmp_path)
        monkeypatch.setattr(keeper, "END_SECONDS", 60.0 if dies else 0.0)
        kill = signal.pidfd_send_signal
        monkeypatch.setattr(signal, "pidfd_send_signal", kill if dies else lambda *_: None)
        scene.keeper.runc_status = 137
        scene.keeper._restored(None)
        killed = namespace == "its own" and dies
        if killed:
            assert copy.wait(60) == -signal.SIGKILL
        else:
            assert copy.poll() is None
            kill(os.pidfd_open(copy.pid), signal.SIGKILL)  # os.kill is the scene's
    assert (f"links_down {scene.keeper.network}" in scene.did) == (namespace == "its own")
    assert [message["event"] for message in scene.heard("proxy")] == (["failed"] if dies else [])
    assert scene.keeper.finished


@pytest.mark.parametrize("said", ["in time", "with its last breath", "not at all"])
@pytest.mark.parametrize("forgets", [True, False])
def test_a_copy_that_criu_has_let_go_runs_whatever_becomes_of_criu(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, forgets: bool
) -> None:
    """Its peers have had answers of it. runc, whose CRIU was killed, forgets it: Docker could not even stop it then."""
    scene.keeper.runtime.root = str(tmp_path / "runc")
    state = tmp_path / "runc" / ID / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text("what runc knows")
    scene.prepared()
    scene.do("proxy", do="commit")
    scene.heard("proxy")
    scene.keeper._at_work.clear()  # that is we
    monkeypatch.setattr(Keeper, "_end_copy", lambda _: True)
    if said == "in time":
        scene.asks("r")
    elif said == "with its last breath":
        with socket.socket(socket.AF_UNIX) as criu:
            criu.connect(paths.verdict(ID))
            criu.sendall(b"r")
    if forgets:
        state.unlink()
        state.parent.rmdir()
    scene.keeper.runc_status = 1
    scene.keeper._restored(None)
    ran = said != "not at all"
    assert [message["event"] for message in scene.heard("proxy")] == (["running"] if ran else ["failed"])
    if ran:
        assert state.read_text() == "what runc knows"
        assert state.stat().st_mode & 0o777 == (0o600 if forgets else 0o644)


def test_a_runc_that_cannot_be_reminded_keeps_nobody_from_hearing_that_the_copy_runs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk, say: the copy runs, and its original must be told to go."""

    def full() -> None:
        raise OSError(28, "No space left on device")

    scene.prepared()
    scene.do("proxy", do="commit")
    monkeypatch.setattr(scene.keeper.runtime, "remind", full)
    scene.keeper.runc_status = 0
    scene.keeper._restored(None)
    assert scene.heard("proxy")[-1]["event"] == "running" and "cannot be reminded" in capsys.readouterr().err


@pytest.mark.parametrize("order", ["commit", "cancel"])
def test_a_criu_that_is_dead_when_the_verdict_comes(scene: Scene, order: str) -> None:
    """It has taken the copy with it. That is said when runc has returned, and not left to a keeper that dies of it."""
    scene.prepared()
    scene.keeper._at_work.clear()  # that is we
    scene.criu.close()
    scene.do("proxy", do=order)
    scene.keeper.runc_status = 1
    scene.keeper._restored(None)
    expected = "failed" if order == "commit" else "cancelled"
    assert scene.heard("proxy")[-1] == {"event": expected, "status": 1}


def test_a_gate_that_nobody_attends_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """And every trace of it goes: socket, verdict, marker."""
    monkeypatch.setattr(keeper, "GATE_SECONDS", -1.0)
    scene.do("starter", do="start")
    scene.keeper.serve()
    assert scene.keeper.last["event"] == "cancelled" and "the gate for" in scene.keeper.last["reason"]
    assert scene.heard("starter") == [{"status": 1}]
    assert not any(Path(path).exists() for path in (paths.gate(ID), paths.verdict(ID), paths.marker(ID)))


def test_whoever_asks_hears_whether_the_shim_lives(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child whose parent dies gets another one: containerd does not know so soon that a shim was killed."""
    scene.do("proxy", do="attach")
    scene.do("starter", do="start")
    scene.do("proxy", do="ask")
    assert scene.heard("proxy")[-1] == {"event": "asked", "pid": 4711, "shim": True}
    monkeypatch.setattr(os, "getppid", lambda: 1)
    scene.do("proxy", do="ask")
    assert scene.heard("proxy")[-1]["shim"] is False and scene.keeper.state == "gated"


@contextlib.contextmanager
def shim_of(scene: Scene) -> Iterator[Callable[[], None]]:
    """Give the keeper a shim of its own; yield what ends that, and lets the keeper hear of it."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as shim, pytest.MonkeyPatch.context() as patch:
        assert shim.stdin is not None
        patch.setattr(os, "getppid", lambda: shim.pid)

        def end() -> None:
            assert scene.keeper.selector.select(0) == []
            shim.stdin.close()  # type: ignore[union-attr]
            ((key, _),) = scene.keeper.selector.select(10)
            key.data(key.fileobj)

        yield end


@pytest.mark.parametrize("state", ["primed", "restoring"])
def test_a_restore_whose_shim_is_killed_is_given_up_at_once(scene: Scene, state: str) -> None:
    """Whoever waits for it hears why: it would wait until its own time is up, and the clients with it."""
    with shim_of(scene) as end:
        (scene.primed if state == "primed" else scene.restoring)()
        end()
    assert scene.heard("proxy")[-1] == {
        "event": "failed",
        "reason": "the containerd-shim of the copy was killed, and containerd ends the copy with it",
    }
    if state == "restoring":
        scene.asks("p")  # CRIU had not noticed
    assert scene.criu.recv(10) == b"x"
    scene.do("proxy", do="commit")
    assert scene.keeper.state == "cancelling"


def test_a_gate_whose_shim_is_killed_is_given_up_at_once(scene: Scene) -> None:
    """Nothing has been restored: the placeholder ends, and so does the start."""
    with shim_of(scene) as end:
        scene.gated()
        end()
    gated, failed, cancelled = scene.heard("proxy")
    assert (gated["event"], failed["event"], cancelled["event"]) == ("gated", "failed", "cancelled")
    assert "the containerd-shim of the copy was killed" in failed["reason"] == cancelled["reason"]
    assert scene.keeper.finished and scene.heard("starter") == [{"status": 1}]


def test_a_copy_that_waits_for_its_verdict_is_not_given_up_by_its_keeper(scene: Scene) -> None:
    """The word is given: whoever has it asks whether the shim lives, and could take what nobody asked for as an answer."""
    with shim_of(scene) as end:
        scene.prepared()
        scene.heard("proxy")
        end()
    assert scene.heard("proxy") == [] and scene.keeper.state == "prepared"


def test_a_peer_that_hangs_up_is_forgotten(scene: Scene) -> None:
    """What is said to the others still reaches them."""
    scene.keeper.selector.register(scene.ends["proxy"][1], 1, scene.keeper._hear)
    scene.gated()
    scene.proxy.close()
    scene.keeper._hear(scene.ends["proxy"][1])
    assert scene.keeper.proxies == []
    scene.keeper._tell("failed", status=1)
