# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of a container's processes, and of relocations without an end."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _host, _paths


def test_established_connections_are_counted() -> None:
    """Both ends of one are in this network namespace; a listener is none, and a process that is gone has none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = _host._connections(os.getpid())
        calls = [socket.create_connection(listener.getsockname()) for _ in range(40)]
        answers = [listener.accept()[0] for _ in calls]
        found = _host._connections(os.getpid())
        for end in [*calls, *answers]:
            end.close()
    assert found >= before + 40, "others on this machine come and go, but not by the dozen"
    assert _host._connections(2**22 + 1) == 0


def test_what_has_no_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of journals that have one, only the last line is read; a torn line and a long one do not hide what is before them."""
    monkeypatch.setattr(_paths, "JOURNALS", str(tmp_path))
    assert _host.unfinished() == []
    begun, ended = json.dumps({"state": "voted", "container": "web"}), json.dumps({"state": "done"})
    long = json.dumps({"state": "routing", "flows": ["x" * 100] * 100})
    for name, text in {
        "r1.source.jsonl": f"{begun}\n",
        "r2.source.jsonl": f"{begun}\n{ended}\n",
        "r3.source.jsonl": f'{begun}\n{{"state":"do',
        "r4.source.jsonl": f"{begun}\n{long}\n",
        "r5.source.jsonl": f"{begun}\n{long}\n{ended}\n",
        "r6.source.jsonl": "",
        "r7.source.jsonl": f"{begun}\n\n",
        "r1.source.log": "words\n",
    }.items():
        (tmp_path / name).write_text(text)
    found = [(each["relocation"], each["state"], each["container"]) for each in _host.unfinished()]
    assert found == [("r1", "voted", "web"), ("r3", "voted", "web"), ("r4", "routing", "web"), ("r7", "voted", "web")]


def test_a_part_with_a_process_is_told_from_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file alone proves nothing: it stays behind when a guardian is killed."""
    monkeypatch.setattr(_paths, "JOURNALS", str(tmp_path))
    monkeypatch.setattr(_paths, "PARTS", str(tmp_path / "parts"))
    (tmp_path / "parts").mkdir()
    for relocation in ("r1", "r2", "r3"):
        (tmp_path / f"{relocation}.source.jsonl").write_text('{"state":"voted"}\n')
    (tmp_path / "parts" / "r1.source").touch()
    with (tmp_path / "parts" / "r2.source").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = {each["relocation"]: each["living"] for each in _host.unfinished()}
    assert found == {"r1": False, "r2": True, "r3": False}


def test_ended_journals_are_not_read_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are thousands of them, and every plan and every survey asks."""
    monkeypatch.setattr(_paths, "JOURNALS", str(tmp_path))
    (tmp_path / "r1.edge.jsonl").write_text('{"state":"staging"}\n{"state":"rolled-back","reason":"why"}\n')
    monkeypatch.setattr(_host, "_text", lambda path: pytest.fail(f"{path} was read"))
    assert _host.unfinished() == []


class Checked:
    """An engine whose container has a command inside when it is looked at for the first times."""

    def __init__(self, looks: int, test: list[str]) -> None:
        self.looks, self.test = looks, test

    def container(self, _: str) -> dict[str, Any]:
        """Return it."""
        self.looks -= 1
        return {"Config": {"Healthcheck": {"Test": self.test}}, "ExecIDs": ["e1"] if self.looks >= 0 else None}


@pytest.mark.parametrize(
    ("looks", "test", "still"),
    [
        (0, ["CMD", "/bin/true"], None),
        (3, ["CMD", "/bin/true"], None),  # it ends while the host is surveyed
        (1000, ["CMD", "/bin/true"], ["e1"]),  # it has no end, or is somebody's docker exec
        (1, ["NONE"], ["e1"]),  # nothing that ends by itself: nobody waits
    ],
)
def test_a_health_check_is_no_command_of_somebody(
    monkeypatch: pytest.MonkeyPatch, looks: int, test: list[str], still: list[str] | None
) -> None:
    """It runs every few seconds for some milliseconds: a plan that meets one waits for its end, and not for ever."""
    clock = iter(range(1000))
    monkeypatch.setattr(_host.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(_host.time, "sleep", lambda _: None)
    found = _host._between_checks(Checked(looks, test), "c1", 10.0)  # type: ignore[arg-type]
    assert found is not None and found["ExecIDs"] == still


def test_the_security_module_is_the_one_that_criu_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AppArmor before SELinux; and which profiles are loaded, where that can be read."""
    places = {name: str(tmp_path / name) for name in _host.SECURITY_MODULES}
    monkeypatch.setattr(_host, "SECURITY_MODULES", places)
    assert _host._security() == {"security_module": "", "apparmor_profiles": None}
    (tmp_path / "selinux").mkdir()
    assert _host._security() == {"security_module": "selinux", "apparmor_profiles": None}
    (tmp_path / "apparmor").mkdir()
    (tmp_path / "apparmor" / "profiles").write_text("docker-default (enforce)\n/usr/bin/a b (complain)\n")
    assert _host._security() == {"security_module": "apparmor", "apparmor_profiles": ["/usr/bin/a b", "docker-default"]}


@pytest.mark.parametrize(("overcommit", "left"), [("0", None), ("1", None), ("2", 3000 << 10)])
def test_what_a_host_promises(monkeypatch: pytest.MonkeyPatch, overcommit: str, left: int | None) -> None:
    """Only one that promises no more than it has runs out of that."""
    files = {
        "/proc/meminfo": "MemTotal:       9000 kB\nCommitLimit:    7000 kB\nCommitted_AS:   4000 kB\n",
        "/proc/sys/vm/overcommit_memory": f"{overcommit}\n",
        "/proc/sys/vm/max_map_count": "65530\n",
    }
    monkeypatch.setattr(_host, "_text", files.__getitem__)
    assert _host._commitments() == {"most_areas": 65530, "promised_bytes_left": left}


def test_a_container_s_network_options_are_told_to_the_destination() -> None:
    """By their names: an older Docker would take them, show them, and do nothing."""
    inspected = {
        "Id": "c" * 64,
        "Name": "/web",
        "Image": "sha256:1",
        "State": {"Running": False, "Status": "exited", "Pid": 0},
        "Config": {"Image": "web:1"},
        "HostConfig": {"NetworkMode": "shop"},
        "NetworkSettings": {"Networks": {"shop": {"DriverOpts": {"b": "1", "a": "2"}}, "other": {"DriverOpts": None}}},
    }
    engine: Any = SimpleNamespace(container=lambda _: inspected, image=lambda _: None)
    described = _host._container(engine, {"Id": inspected["Id"]}, [], {}, {}, 0.0)
    assert described is not None and described["network_options"] == ["a", "b"]
