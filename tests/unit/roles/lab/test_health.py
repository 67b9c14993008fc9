# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the lab whose dockerd is slow is well: ``lab up`` would start it anew."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from relocate.lab.status import role_code


class _Away(socket.socket):
    """Goes to a socket of the test instead of a host's."""

    place = ""

    def connect(self, _: object) -> None:
        super().connect(self.place)


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Return the module, which finds dockerd's socket in a directory of the test."""
    module: ModuleType = role_code("lab_health")
    monkeypatch.setattr(_Away, "place", str(tmp_path / "docker.sock"))
    monkeypatch.setattr(module.socket, "socket", _Away)
    return module


def answering(path: str, answer: Callable[[socket.socket], object]) -> threading.Thread:
    """Answer the first who connects."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(100)
            answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def slowly(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.0 ")
    threading.Event().wait(2.2)
    connection.sendall(b"200 OK\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "well"),
    [(slowly, True), (lambda it: it.sendall(b"HTTP/1.0 500 Oh\r\n"), False), (lambda _: None, False)],
)
def test_an_answer_may_take_seconds(health: ModuleType, answer: Callable[[socket.socket], object], well: bool) -> None:
    thread = answering(_Away.place, answer)
    assert health.docker_answers(1) is well
    thread.join()


def test_a_dockerd_that_is_not_there_is_noticed_at_once(health: ModuleType) -> None:
    assert not health.docker_answers(1)
