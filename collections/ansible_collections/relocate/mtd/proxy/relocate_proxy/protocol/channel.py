# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels between the parts: framed JSON messages and raw bytes over mutual TLS.

The controller makes one certificate authority per relocation, signs one certificate a part, hands each part its own key over
SSH, and forgets the authority. A certificate names its part (``source.ID``), so that a part can tell who called.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from ..host import paths
from ..host.syscalls import wait_for

HEADER = struct.Struct("!IQ")  # length of the JSON message, length of the raw bytes that follow it
MAX_MESSAGE = 16 << 20  # of JSON, which takes twenty times its length in memory; 64000 connections fit
MAX_RAW = 16 << 20
SMALL = 16384  # below, one record holds head and bytes; above, copying them together costs more than a record
HANDSHAKE_SECONDS = 5.0
MOST_STRANGERS = 64
RECORDS = 1 << 18  # bytes per call into OpenSSL: short enough not to keep a reader waiting
#: A part that only waits would never notice that the network to its peer is gone. Seconds, tries, milliseconds: see tcp(7).
KEEP_ALIVE = (
    (socket.TCP_KEEPIDLE, 5),
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 2),
    (socket.TCP_USER_TIMEOUT, 20_000),
)
WATCHFUL = (
    (socket.TCP_KEEPIDLE, 1),
    (socket.TCP_KEEPINTVL, 1),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 4_000),
)
#: Whoever decides: the edge, or the other edge in its stead.
EDGES = ("edge", "standby")


class ChannelLost(ConnectionError):
    """The peer is gone: the channel ended or broke."""


def tls_context(credentials: dict, server: bool) -> ssl.SSLContext:
    """Return a TLS 1.3 context that shows our certificate and demands one of the same relocation from the peer.

    ``credentials`` has ``authority``, ``certificate`` and ``key`` as PEM texts. The ``ssl`` module loads a key only from a
    file; the file lives in a memory file system for the length of the call.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=credentials["authority"])
    if server:
        context.num_tickets = 0  # nobody resumes a session that lives for seconds
    with tempfile.NamedTemporaryFile("w", dir=paths.private_directory(paths.RUN), suffix=".pem") as pem:
        os.fchmod(pem.fileno(), 0o600)
        pem.write(credentials["key"] + credentials["certificate"])
        pem.flush()
        context.load_cert_chain(pem.name)
    return context


def decoded(text: bytes | bytearray, peer: str) -> dict:
    """Return the message in a text. ``raw`` is no field of it: that name is for the bytes that follow.

    :raises ChannelLost: it is none.
    """
    try:
        message = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ChannelLost(f"the {peer} sent something that is no message") from error
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str) or "raw" in message:
        raise ChannelLost(f"the {peer} sent something that is no message")
    return message


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


class Outlet(Protocol):
    """What cargo is sent on, and taken from: a channel to another part, or a recording for a later one."""

    def send(self, kind: str, raw: bytes | bytearray = b"", **fields: Any) -> None:
        """Send one message. :raises OSError: nobody takes it."""

    def receive(self) -> dict:
        """Return the next message. :raises OSError: none comes."""

    def close(self) -> None:
        """Close."""


def frame(kind: str, raw: bytes | bytearray = b"", **fields: Any) -> bytes:
    """Return what goes before the raw bytes of a message. :raises ValueError: it would not be taken."""
    body = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE or len(raw) > MAX_RAW:
        raise ValueError(
            f"the message '{kind}' would have {len(body)} and {len(raw)} bytes, and {MAX_MESSAGE} and {MAX_RAW} are taken: "
            "close connections of the container"
        )
    return HEADER.pack(len(body), len(raw)) + body


def message_from(exactly: Callable[[int], bytes | bytearray], peer: str) -> dict:
    """Return the next message; its raw bytes, if any, are under ``raw``.

    :param exactly: returns as many of the next bytes as it is asked for. :raises ChannelLost: what comes is no message.
    """
    length, extra = HEADER.unpack(exactly(HEADER.size))
    if length > MAX_MESSAGE or extra > MAX_RAW:
        raise ChannelLost(
            f"the {peer} sent a message of {length} and {extra} bytes, and the most is {MAX_MESSAGE} and {MAX_RAW}"
        )
    message = decoded(exactly(length), peer)
    if extra:
        message["raw"] = exactly(extra)
    return message


class Channel:
    """One TLS connection to one peer. Any thread may send while another receives.

    OpenSSL forbids two threads inside one connection, even one reading and one writing, and Python (before 3.13) does not
    keep them apart: so the socket is non-blocking, every call into OpenSSL is short and under a lock, and waiting is done
    outside it.
    """

    def __init__(self, tls: ssl.SSLSocket) -> None:
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE:
            tls.setsockopt(socket.IPPROTO_TCP, option, value)
        tls.setblocking(False)
        self._tls = tls
        self._openssl = threading.Lock()
        self._sending = threading.Lock()  # one message at a time
        certificate: Any = tls.getpeercert()
        subject = dict(pair[0] for pair in certificate["subject"])
        self.peer: str = subject.get("commonName", "").partition(".")[0]

    @classmethod
    def connect(
        cls, address: tuple[str, int], part: str, relocation: str, credentials: dict, timeout: float
    ) -> Channel:
        """Connect to the listening ``part`` of ``relocation``.

        :raises OSError: when nobody answers in ``timeout`` seconds; :raises ssl.SSLError: when the wrong one does.
        """
        plain = socket.create_connection(address, timeout)
        return cls(tls_context(credentials, server=False).wrap_socket(plain, server_hostname=f"{part}.{relocation}"))

    def send(self, kind: str, raw: bytes | bytearray = b"", **fields: Any) -> None:
        """Send one message. :raises ChannelLost: when the peer is gone; :raises ValueError: when it would not be taken."""
        head = frame(kind, raw, **fields)
        with self._sending:
            for piece in (head + raw,) if len(raw) < SMALL else (head, raw):
                self._send_all(piece)

    def _send_all(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            view = view[self._do(partial(self._tls.send, view[:RECORDS])) :]

    def receive(self) -> dict:
        """Return the next message as a dictionary; its raw bytes, if any, are under ``raw``.

        :raises ChannelLost: when the channel ends, or the peer says what is no message.
        """
        return message_from(self._exactly, self.peer)

    def _exactly(self, count: int) -> bytearray:
        buffer = bytearray(count)
        view = memoryview(buffer)
        while view:
            got = self._do(partial(self._tls.recv_into, view))
            if not got:
                raise ChannelLost(f"the {self.peer} closed the channel")
            view = view[got:]
        return buffer

    def _do(self, operation: Callable[[], int]) -> int:
        """Run one OpenSSL call until it neither wants to read nor to write."""
        while True:
            try:
                with self._openssl:
                    return operation()
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except (OSError, ValueError) as error:
                raise ChannelLost(f"the {self.peer} is gone: {error}") from error
            try:
                wait_for(self._tls.fileno(), wanted, 1.0)  # a second at most: another thread may have read for us
            except (OSError, ValueError) as error:
                raise ChannelLost(f"the channel to the {self.peer} was closed") from error

    def waiting(self) -> bool:
        """Return whether :meth:`receive` would have something at once: a message, or the end of the channel."""
        try:
            with self._openssl:
                return self._tls.pending() > 0 or wait_for(self._tls.fileno(), select.POLLIN, 0)
        except (OSError, ValueError):  # closed
            return True

    def watch(self) -> None:
        """Notice within seconds that the peer's host is gone: who waits for it has a move to save."""
        for option, value in WATCHFUL:
            self._tls.setsockopt(socket.IPPROTO_TCP, option, value)

    def detach(self) -> ssl.SSLSocket:
        """Give the connection to somebody who speaks another language on it. Nothing may be waiting in it."""
        return self._tls

    def close(self) -> None:
        """Close without ceremony; a thread that waits in :meth:`receive` gets :class:`ChannelLost`."""
        try:
            self._tls.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._tls.close()


class Listener:
    """Where a part waits for its peers.

    Whoever reaches the port may open connections and say nothing. So each handshake has a thread of its own and little time,
    and when too many are going on the oldest ones are broken off: a peer's takes some milliseconds.

    :param peers: the only addresses from which anything is heard; empty: from all.
    """

    def __init__(self, address: str, credentials: dict, port: int = 0, peers: Iterable[str] = ()) -> None:
        self._socket = socket.create_server((address, port))
        self._context = tls_context(credentials, server=True)
        self._peers = frozenset(peers)
        self._ready: queue.Queue[Channel | None] = queue.Queue()
        self._strangers: list[socket.socket] = []  # connections that have not shown a certificate, the oldest first
        self._edge: Channel | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                plain, (sender, *_) = self._socket.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(0.01)  # no descriptors: some strangers end soon
                continue
            if self._peers and sender not in self._peers:
                plain.close()
                continue
            plain.settimeout(HANDSHAKE_SECONDS)
            try:  # before anybody keeps it: the descriptor changes its owner, and the former one cannot break it off
                stranger = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            except (OSError, ValueError):  # it has hung up
                plain.close()
                continue
            with self._lock:
                self._strangers.append(stranger)
                oldest = self._strangers.pop(0) if len(self._strangers) > MOST_STRANGERS else None
            if oldest is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # beneath TLS, which another thread is busy with
            try:
                threading.Thread(target=self._greet, args=(stranger,), daemon=True).start()
            except RuntimeError:  # no more threads just now: it may call again
                self._forget(stranger)
                stranger.close()

    def _forget(self, stranger: ssl.SSLSocket) -> None:
        with self._lock:
            if stranger in self._strangers:
                self._strangers.remove(stranger)

    def _greet(self, stranger: ssl.SSLSocket) -> None:
        try:
            stranger.do_handshake()
            channel = Channel(stranger)
        except (OSError, ValueError):  # includes ssl.SSLError: a stranger, or one that hung up
            stranger.close()
            return
        finally:
            self._forget(stranger)
        if channel.peer in EDGES:
            self._succeed(channel)
        self._ready.put(channel)

    def _succeed(self, channel: Channel) -> None:
        """Let go of an edge when one comes anew: whoever still listens to a dead one would miss what the new one says."""
        with self._lock:
            former, self._edge = self._edge, channel
        if former is not None:
            former.close()

    def accept(self, timeout: float | None) -> Channel:
        """Return the next peer that has shown a certificate of this relocation; others are turned away.

        :raises TimeoutError: when none came in ``timeout`` seconds; :raises OSError: when the listener is closed.
        """
        try:
            channel = self._ready.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no part of this relocation connected within {timeout:g} s") from None
        if channel is None:
            self._ready.put(None)  # for whoever waits, too
            raise OSError("the listener is closed")
        return channel

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._ready.put(None)
