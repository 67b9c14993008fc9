# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Engine API client, against a socket that answers what it is told to."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _docker
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError, Publication


class Daemon(socketserver.ThreadingUnixStreamServer):
    """Answers every request with what ``answers`` has for its line, and keeps what was asked."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        """Listen at ``path``."""
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, Any]] = []
        super().__init__(path, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Daemon

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        line = f"{self.command} {self.path}"
        self.server.asked.append((line, body))
        status, content = self.server.answers.get(line, (404, b'{"message": "no such thing"}'))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if content:  # the client has gone by now if it expects nothing
            self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_arguments: Any) -> None:
        return


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that listens while the test runs."""
    with Daemon(str(tmp_path / "docker.sock")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def engine(daemon: Daemon) -> DockerClient:
    """A client of that daemon."""
    return DockerClient(str(daemon.server_address))


def test_what_is_not_there_is_none(engine: DockerClient) -> None:
    """404 is an answer, not a failure."""
    assert engine.container("nosuch") is None
    assert engine.image("r:5000/nosuch:1") is None


def test_a_refusal_is_the_daemons_own_sentence(engine: DockerClient, daemon: Daemon) -> None:
    """Status and message come through; a missing message is replaced by what was asked."""
    daemon.answers["POST /containers/web/start"] = (500, b'{"message": "driver failed: port is already allocated\\n"}')
    with pytest.raises(DockerError, match=r"^driver failed: port is already allocated$") as refused:
        engine.start("web")
    assert refused.value.status == 500
    daemon.answers["POST /containers/web/start"] = (502, b"")
    with pytest.raises(DockerError, match="POST /containers/web/start: status 502"):
        engine.start("web")


def test_a_daemon_that_is_down_is_said(tmp_path: Path) -> None:
    """Status 0 tells it from a refusal."""
    with pytest.raises(DockerError, match=r"Docker does not answer at .*nosuch\.sock: ") as refused:
        DockerClient(str(tmp_path / "nosuch.sock")).ping()
    assert refused.value.status == 0


@pytest.mark.parametrize(
    ("image", "query"),
    [
        ("10.77.0.10:5000/counter:1", "fromImage=10.77.0.10%3A5000%2Fcounter&tag=1"),
        ("10.77.0.10:5000/counter", "fromImage=10.77.0.10%3A5000%2Fcounter&tag=latest"),
        ("busybox", "fromImage=busybox&tag=latest"),
        ("a:5000/b@sha256:ab", "fromImage=a%3A5000%2Fb%40sha256%3Aab&tag="),
        ("a/b:1@sha256:ab", "fromImage=a%2Fb%3A1%40sha256%3Aab&tag="),
    ],
)
def test_pull_splits_name_and_tag(engine: DockerClient, daemon: Daemon, image: str, query: str) -> None:
    """The colon of a port is not that of a tag; without a tag Docker would fetch them all."""
    daemon.answers[f"POST /images/create?{query}"] = (200, b'{"status": "Pulling"}\n{"status": "Done"}\n')
    engine.pull(image)
    assert daemon.asked == [(f"POST /images/create?{query}", None)]


def test_a_pull_that_fails_halfway_fails(engine: DockerClient, daemon: Daemon) -> None:
    """The status was 200 by then; the error is in the last line."""
    line = "POST /images/create?fromImage=a&tag=1"
    for body in (b'{"status": "Pulling"}\n{"error": "connection refused"}\n', b'{"error": "connection refused"}\n'):
        daemon.answers[line] = (200, body)
        with pytest.raises(DockerError, match=r"^connection refused$"):
            engine.pull("a:1")


def test_create_sends_the_specification(engine: DockerClient, daemon: Daemon) -> None:
    """As JSON; the id comes back."""
    daemon.answers["POST /containers/create?name=web"] = (201, b'{"Id": "c0ffee", "Warnings": []}')
    assert engine.create("web", {"Image": "a:1"}) == "c0ffee"
    assert daemon.asked == [("POST /containers/create?name=web", {"Image": "a:1"})]


def test_last_words_are_unframed(engine: DockerClient, daemon: Daemon) -> None:
    """Eight bytes before each write: stream and length."""
    frames = b"\x01\0\0\0\0\0\0\x06hello\n" + b"\x02\0\0\0\0\0\0\x0cno such file"
    daemon.answers["GET /containers/web/logs?stdout=1&stderr=1&tail=1"] = (200, frames)
    assert engine.last_words("web") == "no such file"
    daemon.answers["GET /containers/web/logs?stdout=1&stderr=1&tail=1"] = (200, b"")
    assert engine.last_words("web") == ""


def test_publications_are_listed_once() -> None:
    """Docker lists IPv4 and IPv6, and ports that are only exposed."""
    short = {
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"},
        ]
    }
    assert _docker.publications(short) == [Publication("0.0.0.0", 8080, 80, "tcp")]
    assert _docker.publications({}) == []


def test_the_address_is_where_every_version_has_it() -> None:
    """Docker 28 dropped NetworkSettings.IPAddress."""
    networks = {"bridge": {"IPAddress": "172.20.1.2"}}
    assert _docker.address({"NetworkSettings": {"IPAddress": "", "Networks": networks}}) == "172.20.1.2"
    assert _docker.address({"NetworkSettings": {"Networks": {"bridge": {"IPAddress": ""}}}}) is None


def test_both_addresses_are_those_of_one_network() -> None:
    """One that has an IPv4 address: a container is known by that, and IPv6 is beside it or is not."""
    networks = {
        "none": {"IPAddress": "", "GlobalIPv6Address": "fd00:1::2"},
        "shop": {"IPAddress": "172.20.1.2", "GlobalIPv6Address": "fd00:20:1::2"},
        "zoo": {"IPAddress": "172.21.1.2", "GlobalIPv6Address": "fd00:21:1::2"},
    }
    assert _docker.own_addresses({"NetworkSettings": {"Networks": networks}}) == ("172.20.1.2", "fd00:20:1::2")
    led = {**networks, "zoo": {**networks["zoo"], "Gateway": "172.21.1.1"}}
    assert _docker.own_addresses({"NetworkSettings": {"Networks": led}}) == ("172.21.1.2", "fd00:21:1::2"), (
        "no way out of shop"
    )
    both = {name: {**each, "Gateway": "172.20.1.1"} for name, each in led.items()}
    assert _docker.own_addresses({"NetworkSettings": {"Networks": both}}) == ("172.20.1.2", "fd00:20:1::2")
    both["zoo"]["GwPriority"] = 1
    assert _docker.own_addresses({"NetworkSettings": {"Networks": both}}) == ("172.21.1.2", "fd00:21:1::2")
    both["zoo"]["GlobalIPv6Address"] = ""
    assert _docker.own_addresses({"NetworkSettings": {"Networks": both}})[0] == "172.20.1.2", "by IPv6 as well"
    alone = {"bridge": {"IPAddress": "172.20.1.2", "GlobalIPv6Address": ""}, "none": networks["none"]}
    assert _docker.own_addresses({"NetworkSettings": {"Networks": alone}}) == ("172.20.1.2", "")
    for nothing in ({}, {"NetworkSettings": None}, {"NetworkSettings": {"Networks": None}}):
        assert _docker.own_addresses(nothing) == ("", "")
