# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of the Docker Engine API over its unix socket. Standard library only: targets have nothing else.

Paths carry no version: the daemon then speaks its newest, and everything used here has been the same since API 1.25.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from typing import Any, BinaryIO, Iterable, Iterator, NamedTuple
from urllib.parse import quote, urlencode

from ansible_collections.relocate.mtd.plugins.module_utils import _login
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Wrong, container_name, image_name, quoted

SOCKET = "/var/run/docker.sock"
TIMEOUT_S = 60.0
# dockerd fetches whole images while we wait for the next progress line
PULL_TIMEOUT_S = 600.0
# a large layer is unpacked without a word
TRANSFER_TIMEOUT_S = 600.0


class DockerError(Exception):
    """The daemon refused (``status`` is HTTP's) or could not be reached (0). The text is the daemon's own sentence."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the status beside the message."""
        super().__init__(message)
        self.status = status


class Publication(NamedTuple):
    """A container's port as its host offers it."""

    host_address: str
    host_port: int
    container_port: int
    protocol: str


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerClient:
    """The Docker daemon behind a socket. Every method raises :class:`DockerError`."""

    def __init__(self, path: str = SOCKET) -> None:
        """Speak to the daemon at ``path``; nothing is sent yet."""
        self._path = path
        #: What was asked of it that changes something: method, path and query. Bodies may hold secrets and are left out.
        self.changes: list[list[str]] = []

    def request(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        timeout: float = TIMEOUT_S,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Return the parsed answer of one request: JSON, a list of JSON lines, or None for an empty one."""
        return _parsed(self._exchange(method, path, query, body, timeout, headers).decode())

    def _exchange(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None,
        body: Any,
        timeout: float,
        more: dict[str, str] | None = None,
    ) -> bytes:
        target = path + ("?" + urlencode(query) if query else "")
        if method != "GET":
            self.changes.append([method, target])
        connection = _UnixConnection(self._path, timeout)
        try:
            headers = {**({"Content-Type": "application/json"} if body is not None else {}), **(more or {})}
            connection.request(method, target, body=None if body is None else json.dumps(body), headers=headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DockerError(0, f"Docker does not answer at {self._path}: {error}") from error
        finally:
            connection.close()
        if response.status >= 400:
            message = _message(answer.decode(errors="replace"))
            raise DockerError(response.status, message or f"{method} {path}: status {response.status}")
        return answer

    def _optional(self, path: str) -> Any:
        try:
            return self.request("GET", path)
        except DockerError as error:
            if error.status == 404:
                return None
            raise

    def ping(self) -> None:
        """Return if the daemon is up."""
        self.request("GET", "/version", timeout=5.0)

    def parts(self) -> set[str]:
        """Return the names of the engine's parts that answer it now; C(containerd) is none while it is being restarted."""
        answer = self.request("GET", "/version", timeout=10.0)
        return {part["Name"] for part in answer.get("Components") or []}

    def info(self) -> dict[str, Any]:
        """Return ``docker info``."""
        answer: dict[str, Any] = self.request("GET", "/info")
        return answer

    def containers(self, everything: bool = True) -> list[dict[str, Any]]:
        """Return ``docker ps``: short descriptions of all containers, or of those that run (paused ones among them)."""
        answer: list[dict[str, Any]] = self.request("GET", "/containers/json", {"all": "1" if everything else "0"})
        return answer

    def container(self, name: str) -> dict[str, Any] | None:
        """Return ``docker inspect`` of a container, or None if there is none of this name or id."""
        answer: dict[str, Any] | None = self._optional(f"/containers/{_container(name)}/json")
        return answer

    def happened(self, identifier: str, events: tuple[str, ...], since: float) -> bool:
        """Return whether one of these events befell a container since a time (seconds since the epoch).

        The daemon remembers some hundred events, and none from before it was started.
        """
        filters = json.dumps({"container": [identifier], "event": list(events)})
        query = {"since": f"{since:.9f}", "until": f"{time.time():.9f}", "filters": filters}
        return self.request("GET", "/events", query) is not None

    def reloaded(self, since: float) -> bool:
        """Return whether the daemon has taken over its configuration since a time (seconds since the epoch)."""
        filters = json.dumps({"type": ["daemon"], "event": ["reload"]})
        query = {"since": f"{since:.9f}", "until": f"{time.time():.9f}", "filters": filters}
        return self.request("GET", "/events", query) is not None

    def image(self, name: str) -> dict[str, Any] | None:
        """Return ``docker image inspect`` of an image on this host, or None."""
        answer: dict[str, Any] | None = self._optional(f"/images/{_image(name)}/json")
        return answer

    def registered(self, image: str) -> str:
        """Return the digest that the image's registry has for it; nothing is fetched."""
        answer = self.request("GET", f"/distribution/{_image(image)}/json", headers=_login.headers(image))
        digest: str = answer["Descriptor"]["digest"]
        return digest

    def pull(self, image: str) -> None:
        """Fetch an image from its registry, by its tag or its digest."""
        name, tag = (image, "") if "@" in image else _split(image)
        query = {"fromImage": name, "tag": tag}
        _insist(self.request("POST", "/images/create", query, timeout=PULL_TIMEOUT_S, headers=_login.headers(image)))

    @contextlib.contextmanager
    def saved(self, image: str) -> Iterator[BinaryIO]:
        """Give the stream of C(docker save) of an image by its id: then there are no names in it."""
        connection = _UnixConnection(self._path, TRANSFER_TIMEOUT_S)
        try:
            connection.request("GET", f"/images/{_image(image)}/get")
            response = connection.getresponse()
            if response.status >= 400:
                raise DockerError(response.status, _message(response.read().decode(errors="replace")))
            yield response
        except http.client.HTTPException as error:
            raise DockerError(0, f"Docker did not save the image {image}: {error}") from error
        finally:
            connection.close()

    def load_image(self, archive: Iterable[bytes]) -> None:
        """Have an archive loaded as by C(docker load), while it is made. What its maker raises is raised; Docker forgets it."""
        target = "/images/load?quiet=1"
        self.changes.append(["POST", target])
        connection = _UnixConnection(self._path, TRANSFER_TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
            connection.request("POST", target, body=archive, headers=headers, encode_chunked=True)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise DockerError(0, f"Docker did not load the image: {error}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise DockerError(response.status, _message(text) or f"POST {target}: status {response.status}")
        _insist(_parsed(text))

    def tag(self, image: str, name: str) -> None:
        """Give an image another name, with its tag."""
        repository, tag = _split(name)
        self.request("POST", f"/images/{_image(image)}/tag", {"repo": repository, "tag": tag})

    def untag(self, name: str) -> None:
        """Take a name from an image that has another one."""
        self.request("DELETE", f"/images/{_image(name)}")

    def create(self, name: str, specification: dict[str, Any]) -> str:
        """Create a container and return its id."""
        answer = self.request("POST", "/containers/create", {"name": name}, specification)
        identifier: str = answer["Id"]
        return identifier

    def start(self, identifier: str) -> None:
        """Start a container; one that runs stays as it is."""
        self.request("POST", f"/containers/{_container(identifier)}/start")

    def last_words(self, identifier: str) -> str:
        """Return the last line a container wrote, to either stream; empty if it wrote none."""
        query = {"stdout": "1", "stderr": "1", "tail": "1"}
        answer = self._exchange("GET", f"/containers/{_container(identifier)}/logs", query, None, TIMEOUT_S)
        lines = unframed(answer).decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def remove(self, identifier: str) -> None:
        """Stop a container at once and remove it with its anonymous volumes."""
        self.request("DELETE", f"/containers/{_container(identifier)}", {"force": "1", "v": "1"})


def _container(name: str) -> str:
    """Return a container's name or id as a part of a path. What is none would lead to another place of the API."""
    try:
        return quote(container_name(name))
    except Wrong as wrong:
        raise DockerError(400, f"{quoted(name)} {wrong}") from None


def _image(name: str) -> str:
    """Return the same of an image."""
    try:
        return quote(image_name(name))
    except Wrong as wrong:
        raise DockerError(400, f"{quoted(name)} {wrong}") from None


def _split(name: str) -> tuple[str, str]:
    """Return repository and tag of an image's name."""
    repository, _colon, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, ":", "latest")
    return repository, tag


def _insist(lines: Any) -> None:
    """Raise what went wrong while Docker told its progress: the status was sent before, as 200."""
    for line in lines if isinstance(lines, list) else [lines]:
        if isinstance(line, dict) and "error" in line:
            raise DockerError(500, line["error"])


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return text.strip()


def _parsed(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return text


def unframed(stream: bytes) -> bytes:
    """Return what a container without a terminal wrote, from the frames (stream, length, bytes) the API wraps it in."""
    written = []
    while len(stream) >= 8:
        length = int.from_bytes(stream[4:8], "big")
        written.append(stream[8 : 8 + length])
        stream = stream[8 + length :]
    return b"".join(written)


def publications(short: dict[str, Any]) -> list[Publication]:
    """Return what a container of :meth:`DockerClient.containers` offers through its host, IPv4 only, without repetition."""
    found = {
        Publication(port.get("IP", "0.0.0.0"), port["PublicPort"], port["PrivatePort"], port["Type"])
        for port in short.get("Ports") or []
        if "PublicPort" in port and ":" not in port.get("IP", "")
    }
    return sorted(found)


def addresses(inspected: dict[str, Any]) -> set[str]:
    """Return all addresses that Docker has given a container, of either family, with those of C(--link-local-ip)."""
    found = set()
    for each in ((inspected.get("NetworkSettings") or {}).get("Networks") or {}).values():
        asked = each.get("IPAMConfig") or {}
        found |= {each.get("IPAddress"), each.get("GlobalIPv6Address"), *(asked.get("LinkLocalIPs") or [])}
    return found - {None, ""}


def own_addresses(inspected: dict[str, Any]) -> tuple[str, str]:
    """Return the IPv4 and the IPv6 address by which the outside reaches a container; "" for what it has not.

    They are of one network: :func:`first_network`.
    Docker 28 no longer has ``NetworkSettings.IPAddress``.
    """
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    having = {name: each for name, each in networks.items() if each.get("IPAddress")}
    order = {
        name: Leading(bool(each.get("Gateway")), bool(each.get("GlobalIPv6Address")), each.get("GwPriority") or 0)
        for name, each in having.items()
    }
    first = first_network(order)
    return (having[first]["IPAddress"], having[first].get("GlobalIPv6Address") or "") if first else ("", "")


class Leading(NamedTuple):
    """What one of a container's networks has to do with the way out.

    :ivar outside: it leads there: it is not internal. :ivar dual: by IPv6 as well. :ivar priority: ``gw-priority``.
    """

    outside: bool
    dual: bool = False
    priority: int = 0


def first_network(networks: dict[str, Leading]) -> str | None:
    """Return the name of the network through which Docker leads a container's published ports and its way out; None of none.

    It takes one that is internal last, prefers one of both families, and then goes by the highest priority, and by the names
    (moby: libnetwork/endpoint.go, ``Less``, and libnetwork/sandbox.go, ``selectGatewayEndpoint``).
    """

    def order(name: str) -> tuple[bool, bool, int, str]:
        each = networks[name]
        return not each.outside, not each.dual, -each.priority, name

    return min(networks, key=order, default=None)


def address(inspected: dict[str, Any]) -> str | None:
    """Return the IPv4 address of a container, or None."""
    return own_addresses(inspected)[0] or None
