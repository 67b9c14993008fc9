# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream launcher with a real ``ansible-runner worker``: as a command, and over ssh to a server on loopback."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relocate.schedule.launchers import Launcher, LaunchError, Move, bundle, make
from relocate.schedule.launchers.settings import StreamSettings
from relocate.schedule.launchers.stream import StreamLauncher

RUNNER = str(Path(sys.executable).with_name("ansible-runner"))
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def move(**variables: Any) -> Move:
    """Return a move with its variables."""
    return Move("m1", "web", "host1", "clock", 0.0, {"container": "web", "relocation_id": "m1", **variables})


def streaming(project: Path, **rest: Any) -> Launcher:
    """Return a launcher; without more, for a worker that is a command."""
    settings = {"command": [RUNNER, "worker"], "runs": project.parent / "runs", **rest}
    return make(StreamSettings(kind="stream", **settings), str(project / "hosts.yml"))


def test_a_move_on_a_node(project: Path) -> None:
    """The project goes with it, and the past; its result comes back. What is in ps is the file's name."""
    (project.parent / "past.jsonl").write_text('{"outcome": "committed"}\n')
    result = streaming(project).launch(move(secret="hush-hush"), threading.Event())
    assert (result["outcome"], result["id"], result["downtime_ms"]) == ("committed", "m1", 81.5)
    assert "hush-hush" not in result["command"] and str(project) not in result["command"]
    assert result["past"] == '{"outcome": "committed"}\n'
    assert result["checking"] == "True" and not (project.parent / "runs").exists()


def test_a_move_that_is_rolled_back_there(project: Path) -> None:
    """Its output is kept here."""
    result = streaming(project).launch(move(behave="roll back"), threading.Event())
    assert (result["outcome"], result["msg"]) == ("rolled-back", "criu said no")
    assert "criu said no" in Path(result["run"]).read_text()


def test_what_fails_before_attempted_nothing(project: Path) -> None:
    """In the words of the task."""
    with pytest.raises(LaunchError, match=r"^no container is named$"):
        streaming(project).launch(move(container=""), threading.Event())


def test_ansible_that_dies_there_leaves_it_in_doubt(project: Path) -> None:
    """As it would here."""
    assert streaming(project).launch(move(behave="die"), threading.Event())["outcome"] == "in-doubt"


def test_recovery_on_a_node(project: Path) -> None:
    """Its result is that of its action."""
    assert streaming(project).recover()["settled"] == [{"id": "r1"}]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["/nowhere/ansible-runner", "worker"], "cannot be started: /nowhere/ansible-runner: No such file"),
        (["sh", "-c", "echo no such node >&2; exit 255"], "no such node"),
        (["sh", "-c", "echo hello; cat > /dev/null"], "invalid JSON"),
    ],
)
def test_a_worker_that_is_none(project: Path, command: list[str], says: str) -> None:
    """In its own words, if it has any."""
    with pytest.raises(LaunchError, match=says):
        streaming(project, command=command).launch(move(), threading.Event())


def test_a_node_that_falls_silent_leaves_it_in_doubt(project: Path) -> None:
    """It had all it needs, and may go on."""
    silent = streaming(project, command=["sh", "-c", "cat > /dev/null; exec sleep 60"], silence=0.5)
    assert silent.launch(move(), threading.Event())["outcome"] == "in-doubt"


def test_a_pipe_that_breaks_after_the_start_leaves_it_in_doubt(project: Path) -> None:
    """The worker had said that it starts."""
    broken = streaming(project, command=["sh", "-c", 'cat > /dev/null; echo \'{"status": "starting"}\''])
    assert broken.launch(move(), threading.Event())["outcome"] == "in-doubt"


def test_a_move_cancelled_before_it_is_sent(project: Path) -> None:
    """Nothing is sent."""
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(LaunchError, match="cancelled before anything was touched"):
        streaming(project, command=["false"]).launch(move(), cancelled)


def test_an_inventory_that_cannot_be_read(project: Path) -> None:
    """Ansible's own words."""
    (project / "hosts.yml").write_text("all: [")
    (project / "ansible.cfg").write_text("[inventory]\nany_unparsed_is_failed = true\n")
    with pytest.raises(LaunchError, match=r"the inventory .*hosts\.yml cannot be read: "):
        streaming(project).launch(move(), threading.Event())


def test_the_command_for_ssh(project: Path) -> None:
    """The node is no option, and the remote shell sees the words that were meant."""
    settings = StreamSettings(
        kind="stream",
        node="ops@node1",
        ssh_arguments=["-p", "2222"],
        worker=["/opt/my venv/bin/ansible-runner", "worker"],
    )
    command = StreamLauncher(settings, str(project / "hosts.yml")).command()
    assert command[0] == "ssh" and command[-5:-1] == ["-p", "2222", "--", "ops@node1"]
    assert command[-1] == "'/opt/my venv/bin/ansible-runner' worker --keepalive-seconds 10"


@pytest.mark.parametrize("wrong", [{}, {"node": "a", "command": ["b"]}, {"node": "-oProxyCommand=x"}])
def test_one_way_to_the_worker(wrong: dict[str, Any]) -> None:
    """And a node that ssh cannot take for an option."""
    with pytest.raises(ValueError, match="node"):
        StreamSettings(kind="stream", **wrong)


def test_the_past_is_sent_so_far_as_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole lines of the ledger's end, and the hosts' profiles; nothing where there is nothing."""
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("RELOCATE_PROFILES", str(tmp_path / "profiles"))
    (empty := tmp_path / "empty").mkdir()
    assert bundle._pack_past(empty) == {} and list(empty.iterdir()) == []
    (tmp_path / "ledger").write_text("".join(f'{{"number": {number}}}\n' for number in range(1000)))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "host1.json").write_text("{}")
    monkeypatch.setattr(bundle, "LEDGER_TAIL", 40)
    (full := tmp_path / "full").mkdir()
    assert bundle._pack_past(full) == {"RELOCATE_PROFILES": "profiles", "RELOCATE_LEDGER": "ledger.jsonl"}
    assert (full / "ledger.jsonl").read_text() == '{"number": 998}\n{"number": 999}\n'
    assert (full / "profiles" / "host1.json").exists()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[list[str]]:
    """Run sshd on loopback with keys of its own; gives ssh's arguments."""
    if SSHD is None:
        pytest.skip("needs sshd: install openssh-server (it need not be started)")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:  # only root's sshd separates its privileges, and wants this directory for it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    options = [
        f"ListenAddress=127.0.0.1:{port}",
        f"HostKey={tmp_path / 'host'}",
        f"AuthorizedKeysFile={tmp_path / 'user.pub'}",
        f"PidFile={tmp_path / 'pid'}",
        "StrictModes=no",
        "UsePAM=no",
        "PasswordAuthentication=no",
    ]
    words = [SSHD, "-D", "-e", "-f", "/dev/null", *(word for option in options for word in ("-o", option))]
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as server:
        try:
            limit = time.monotonic() + 120
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                    break
                except OSError:
                    assert time.monotonic() < limit and server.poll() is None, "sshd did not start"
                    time.sleep(0.05)
            checking = ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
            yield ["-p", str(port), "-i", str(tmp_path / "user"), "-o", "IdentitiesOnly=yes", *checking]
        finally:
            server.terminate()


def test_a_move_over_ssh(project: Path, node: list[str]) -> None:
    """And a key that nobody knows is refused in ssh's words."""
    account = f"{getpass.getuser()}@127.0.0.1"  # sshd without root admits whom it runs as
    worker = ["env", f"PATH={Path(RUNNER).parent}:/usr/bin:/bin", RUNNER, "worker"]
    over = streaming(project, command=None, node=account, ssh_arguments=node, worker=worker)
    assert over.launch(move(), threading.Event())["outcome"] == "committed"
    Path(node[3]).write_bytes(Path(node[3]).with_name("host").read_bytes())
    with pytest.raises(LaunchError, match=rf"{re.escape(account)}: .*Permission denied"):
        over.launch(move(), threading.Event())
