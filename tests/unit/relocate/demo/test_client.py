# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration's client against small servers on loopback: what it counts, and what it does not let pass."""

from __future__ import annotations

import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from relocate.demo import client
from relocate.demo.watching import CLIENT, Client, Pause
from tests.lab.waiting import until

Answer = Callable[[int], "bytes | None"]


class Server(socketserver.ThreadingTCPServer):
    """Answers the n-th request (from 1) with what ``answer`` says; None hangs up."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answer: Answer, redis: bool = False) -> None:
        self.answer, self.redis = answer, redis
        self.requests: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Answer until it is enough."""
        number = 0
        lines = 5 if self.server.redis else 1
        while request := b"".join(self.rfile.readline() for _ in range(lines)):
            self.server.requests.append(request)
            number += 1
            answer = self.server.answer(number)
            if answer is None:
                return
            self.wfile.write(answer)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server."""
    made: list[Server] = []

    def start(answer: Answer, redis: bool = False) -> Server:
        made.append(Server(answer, redis))
        return made[-1]

    yield start
    for each in made:
        each.shutdown()
        each.server_close()


def run(capsys: pytest.CaptureFixture[str], server: Server, kind: str = "counter") -> tuple[int, list[dict[str, Any]]]:
    """Run the client until it ends by itself; return its status and what it said."""
    status = client.run(kind, "127.0.0.1", server.port, 0.0)
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def stop_at(last: int, answer: Answer) -> Answer:
    """Have the client told to stop when it asks for more than ``last`` answers."""

    def limited(number: int) -> bytes | None:
        return answer(number) if number <= last else None

    return limited


def test_answers_that_count_on_are_right(serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]) -> None:
    """From wherever they began; the end of the connection is a loss, and is named."""
    server = serve(stop_at(5, lambda n: b"%d\n" % (40 + n)))
    status, said = run(capsys, server)
    assert said[0]["connected"] == f"127.0.0.1:{server.port}" and said[0]["local_port"] > 0
    assert (status, said[-1]["requests"], said[-1]["last"]) == (1, 5, 45)
    assert said[-1]["error"] == "Wrong: the connection was closed"
    assert set(server.requests) == {b"x\n"}


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((1, 2, 4), "Wrong: after 2 came 4"),
        ((1, 2, 2), "Wrong: after 2 came 2"),
        ((7, 8, 1), "Wrong: after 8 came 1"),
        ((1, 2, b"-ERR wrong\n"), "ValueError: "),
    ],
    ids=["lost", "twice", "fresh process", "no number"],
)
def test_what_cannot_be_right_ends_it(
    serve: Callable[..., Server], capsys: pytest.CaptureFixture[str], answers: tuple[Any, ...], error: str
) -> None:
    """An increment lost, one done twice, a process that began anew."""
    server = serve(lambda n: answers[n - 1] if isinstance(answers[n - 1], bytes) else b"%d\n" % answers[n - 1])
    status, said = run(capsys, server)
    assert status == 1 and said[-1]["requests"] == 2 and said[-1]["error"].startswith(error)


def test_a_pause_is_told_when_it_ends_and_where_it_began(
    serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are too short to be told, unless the machine has stood still."""

    def answer(number: int) -> bytes:
        if number == 3:
            time.sleep(0.12)
        return b"%d\n" % number

    before = time.time()
    _, said = run(capsys, serve(stop_at(5, answer)))
    pauses = [each for each in said if "pause_ms" in each]
    longest = max(pauses, key=lambda each: each["pause_ms"])
    assert longest["pause_ms"] > 115 and before <= longest["at"] <= time.time()
    assert said[-1]["longest_ms"] == longest["pause_ms"] and all(each["pause_ms"] > 20 for each in pauses)


def test_redis_is_asked_in_its_own_words(serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]) -> None:
    """One increment of our key; what counts is that the next is one more."""
    server = serve(stop_at(3, lambda n: b":%d\r\n" % (1000 + n)), redis=True)
    _, said = run(capsys, server, "redis")
    assert said[-1]["last"] == 1003
    assert server.requests[0] == b"*2\r\n$4\r\nINCR\r\n$13\r\nrelocate:demo\r\n"


def test_nobody_there_is_an_error_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The port was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert client.run("counter", "127.0.0.1", port, 0.0) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["requests"] == 0 and said["error"].startswith("ConnectionRefusedError")


def test_sigterm_is_enough_and_not_a_loss(serve: Callable[..., Server]) -> None:
    """As a program: it ends with status 0 and its figures; Ctrl-C is for the one who started it."""
    server = serve(lambda n: b"%d\n" % n)
    command = [sys.executable, str(CLIENT), "counter", "127.0.0.1", str(server.port), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "connected" in json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        until(lambda: len(server.requests), "some requests", lambda number: number > 10)
        process.send_signal(signal.SIGTERM)
        said = [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 0
    assert said[-1]["error"] is None and said[-1]["requests"] > 5


def test_the_longest_pause_since_a_moment() -> None:
    """One that began before it and was still going on counts; one that was over does not."""
    watched = Client("counter", "10.88.0.100", 7000, "nowhere")
    assert watched.longest_since(100.0) is None
    watched.pauses += [Pause(98.0, 1000.0), Pause(99.95, 120.0), Pause(101.0, 80.0)]
    assert watched.longest_since(100.0) == 120.0 and watched.longest_since(100.5) == 80.0
    assert watched.longest_since(102.0) is None


def test_a_client_that_lost_something_says_so_before_it_is_asked() -> None:
    """And one that is well does not."""
    watched = Client("counter", "10.88.0.100", 7000, "nowhere")
    assert watched.lost is None
    watched.summary = {"requests": 5, "longest_ms": 1.0, "error": "Wrong: after 2 came 4"}
    assert watched.lost == "Wrong: after 2 came 4"
