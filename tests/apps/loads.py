# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of real servers: each asks without end over one connection, and knows what the answer must be.

``python loads.py KIND ADDRESS PORT [ARGUMENT…]`` is one client. For each line on its standard input it says how things are, as
JSON: ``requests`` that were answered, ``longest_ms`` that an answer took since the last time, and the ``error``, if any. After
that it asks no more: what a program sees when its connection is lost cannot be repaired by asking again.

Only the standard library: the protocols are spoken as their documents write them.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = 60.0  # the longest that anybody waits for an answer
Ask = Callable[[int], None]  # asks for the n-th time; raises if the answer is not what it must be


def expect(found: object, wanted: object) -> None:
    """Raise unless both are the same."""
    if found != wanted:
        raise ValueError(f"{wanted!r} was due, and {found!r} came")


def rising(answer: str, number: int, last: list[int], alone: bool = True) -> None:
    """See that an answer is of this request, and that the server's own count went on."""
    echo, _, count = answer.strip().partition(" ")
    expect(int(echo), number)
    if alone and last[0]:
        expect(int(count), last[0] + 1)
    if int(count) <= last[0]:
        raise ValueError(f"the server counted {count} after {last[0]}")
    last[0] = int(count)


def connected(address: str, port: int) -> socket.socket:
    """Return a connection that waits for answers."""
    connection = socket.create_connection((address, port), SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def trusting() -> ssl.SSLContext:
    """Return TLS that takes any certificate: it is the connection that is looked at here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


# -- the kinds ----------------------------------------------------------------------------------------------------------


def lines(address: str, port: int) -> Ask:
    """A line for a line."""
    file, last = connected(address, port).makefile("rw"), [0]

    def ask(number: int) -> None:
        file.write(f"{number}\n")
        file.flush()
        rising(file.readline(), number, last)

    return ask


def web(address: str, port: int, *options: str) -> Ask:
    """HTTP over one connection that is kept.

    :param options: ``tls``; ``static``: the page says the same to everybody; ``shared``: other clients' requests count as well.
    """
    kind = {"context": trusting()} if "tls" in options else {}
    make: Any = http.client.HTTPSConnection if kind else http.client.HTTPConnection
    connection, last = make(address, port, timeout=SECONDS, **kind), [0]
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first = connection.sock

    def ask(number: int) -> None:
        connection.request("GET", f"/?n={number}")
        answer = connection.getresponse()
        body = answer.read().decode()
        expect(answer.status, 200)
        if "static" in options:
            expect(body.strip(), "here")
        else:
            rising(body, number, last, "shared" not in options)
        if connection.sock is not first:  # http.client would connect again
            raise ValueError("the server did not keep the connection")

    return ask


def download(address: str, port: int, *_: str) -> Ask:
    """One long download over TLS, read slowly; a step is 64 KiB of it. It begins again when it is whole."""
    state: dict[str, Any] = {}

    def begin() -> None:
        connection = http.client.HTTPSConnection(address, port, timeout=SECONDS, context=trusting())
        connection.request("GET", "/large")
        state.update(answer=connection.getresponse(), sum=hashlib.sha256(), connection=connection)
        state["wanted"] = state["answer"].headers["X-Sum"]

    begin()

    def ask(_: int) -> None:
        data = state["answer"].read(1 << 16)
        if data:
            state["sum"].update(data)
            time.sleep(0.03)  # two megabytes a second
            return
        if state["wanted"]:
            expect(state["sum"].hexdigest(), state["wanted"])
        elif state.setdefault("first", state["sum"].hexdigest()) != state["sum"].hexdigest():
            raise ValueError("the same file came with other bytes")
        begin()

    return ask


def events(address: str, port: int, *_: str) -> Ask:
    """Server-sent events: the server counts."""
    connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
    connection.request("GET", "/events")
    answer = connection.getresponse()

    def ask(number: int) -> None:
        expect(answer.readline(), f"data: {number}\n".encode())
        answer.readline()

    return ask


def websocket(address: str, port: int, *_: str) -> Ask:
    """RFC 6455: text frames of a masked client."""
    connection, last = connected(address, port), [0]
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
    connection.sendall(f"{head}Sec-WebSocket-Version: 13\r\n\r\n".encode())
    file = connection.makefile("rb")
    expect(file.readline().split()[1], b"101")
    while file.readline() != b"\r\n":
        pass

    def ask(number: int) -> None:
        text, mask = str(number).encode(), os.urandom(4)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(text))
        connection.sendall(struct.pack("BB", 0x81, 0x80 | len(text)) + mask + masked)
        _, length = file.read(2)
        rising(file.read(length).decode(), number, last, alone=False)

    return ask


def redis(address: str, port: int, *_: str) -> Ask:
    """RESP: a counter over one connection, and what is published over it comes to another one."""
    file = connected(address, port).makefile("rwb")
    hears = connected(address, port).makefile("rwb")

    def say(words: list[str]) -> None:
        parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
        file.write("".join(parts).encode())
        file.flush()

    hears.write(b"SUBSCRIBE news\r\n")
    hears.flush()
    for _line in range(6):
        hears.readline()
    say(["SET", "count", "0"])
    expect(file.readline(), b"+OK\r\n")

    def ask(number: int) -> None:
        say(["INCR", "count"])
        expect(file.readline(), f":{number}\r\n".encode())
        say(["PUBLISH", "news", str(number)])
        expect(file.readline(), b":1\r\n")
        expect([hears.readline() for _ in range(7)][6], f"{number}\r\n".encode())

    return ask


def memcached(address: str, port: int, *_: str) -> Ask:
    """A counter, and a value that must stay."""
    file = connected(address, port).makefile("rwb")

    def say(line: str) -> bytes:
        file.write(f"{line}\r\n".encode())
        file.flush()
        return file.readline()

    expect(say("set count 0 0 1\r\n0"), b"STORED\r\n")
    expect(say("set kept 0 0 4\r\nkept"), b"STORED\r\n")

    def ask(number: int) -> None:
        expect(say("incr count 1"), f"{number}\r\n".encode())
        expect([say("get kept"), file.readline(), file.readline()], [b"VALUE kept 0 4\r\n", b"kept\r\n", b"END\r\n"])

    return ask


def nats(address: str, port: int, *_: str) -> Ask:
    """What is published over one connection comes to the other one, in order."""
    speaks, hears = (connected(address, port).makefile("rwb") for _ in range(2))
    for file in (speaks, hears):
        file.readline()  # INFO
        file.write(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
        file.flush()
        expect(file.readline(), b"PONG\r\n")
    hears.write(b"SUB news 1\r\nPING\r\n")
    hears.flush()
    expect(hears.readline(), b"PONG\r\n")

    def next_message() -> bytes:
        while True:
            line = hears.readline()
            if line.startswith(b"MSG"):
                return hears.readline().strip()
            if line != b"PING\r\n":
                raise ValueError(f"nats said {line!r}")
            hears.write(b"PONG\r\n")
            hears.flush()

    def ask(number: int) -> None:
        text = str(number)
        speaks.write(f"PUB news {len(text)}\r\n{text}\r\n".encode())
        speaks.flush()
        expect(next_message(), text.encode())

    return ask


def names(address: str, port: int, over: str) -> Ask:
    """DNS: a question for the address of a name, over ``udp``, or over ``tcp`` connections of 50 questions each."""
    packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    packets.connect((address, port))
    packets.settimeout(SECONDS)
    streams: list[socket.socket] = []

    def ask(number: int) -> None:
        label = f"n{number}".encode()
        question = bytes([len(label)]) + label + b"\x03lan\x00\x00\x01\x00\x01"
        message = struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + question
        if over == "tcp":
            if number % 50 == 1:  # dnsmasq takes 100 over each
                streams[:] = [connected(address, port)]
            streams[0].sendall(struct.pack("!H", len(message)) + message)
            answer = streams[0].recv(1500)[2:]
        else:
            packets.send(message)
            answer = packets.recv(1500)
        expect(answer[:2], message[:2])
        expect(answer[-4:], bytes([192, 0, 2, 7]))

    return ask


def _program(command: list[str], say: Callable[[int], str], wanted: Callable[[int], str]) -> Ask:
    """Talk to a program by its standard input and output: a line of question, and lines until the answer."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    assert process.stdin
    assert process.stdout
    stdin, stdout = process.stdin, process.stdout

    def ask(number: int) -> None:
        stdin.write(say(number) + "\n")
        stdin.flush()
        seen = []
        while (line := stdout.readline()) and line.strip() != wanted(number):
            seen.append(line.strip())
        if not line:
            raise ValueError(f"the program ended: {seen[-3:]}")

    return ask


def shell(address: str, port: int, root: str) -> Ask:
    """An interactive session over SSH, with a terminal."""
    options = ["-tt", "-p", str(port), "-i", "/root/key", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
    command = ["chroot", root, "ssh", *options, f"root@{address}"]
    return _program(command, lambda number: f"echo $(({number} + 1000000))", lambda number: str(number + 1000000))


def postgresql(address: str, port: int, root: str) -> Ask:
    """A session that counts in a table: each step is a transaction, and reads what is written."""
    command = ["chroot", root, "psql", "-qAt", "-h", address, "-p", str(port), "-U", "postgres", "-c", ""]
    command = command[:-2]
    add = "update counted set n = n + 1 returning n;"
    return _program(command, lambda number: add if number > 1 else f"create table counted as select 0 as n; {add}", str)


def mariadb(address: str, port: int, root: str) -> Ask:
    """The same, of MariaDB."""
    command = ["chroot", root, "mariadb", "-NB", "--unbuffered", "--skip-reconnect", "--skip-ssl"]
    command += ["-h", address, "-P", str(port), "-u", "walker", "-pwalker", "test"]
    make = "create table counted (n int) engine=innodb; insert into counted values (0); "
    add = "update counted set n = n + 1; select n from counted;"
    return _program(command, lambda number: add if number > 1 else make + add, str)


KINDS: dict[str, Callable[..., Ask]] = {
    each.__name__: each
    for each in (lines, web, download, events, websocket, redis, memcached, nats, names, shell, postgresql, mariadb)
}


# -- the program --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def timed(state: dict[str, Any]) -> Iterator[None]:
    """Note how long an answer took."""
    begin = time.monotonic()
    yield
    state["longest_ms"] = max(state["longest_ms"], round((time.monotonic() - begin) * 1000, 1))
    state["requests"] += 1


def main() -> None:
    """Ask in the background; say how things are for each line of input."""
    kind, address, port, *arguments = sys.argv[1:]
    state: dict[str, Any] = {"requests": 0, "longest_ms": 0.0, "error": None}

    def run() -> None:
        try:
            ask, number = KINDS[kind](address, int(port), *arguments), 0
            while True:
                number += 1
                with timed(state):
                    ask(number)
                time.sleep(0.002)
        except Exception as error:
            state["error"] = f"{kind}: {type(error).__name__}: {error}"

    threading.Thread(target=run, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(state), flush=True)
        state["longest_ms"] = 0.0


if __name__ == "__main__":
    main()
