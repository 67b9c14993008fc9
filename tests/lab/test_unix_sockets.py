# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unix sockets whose file is not where their address says, or is not as CRIU makes one: asked before and after each hop."""

from __future__ import annotations

import json
from typing import Any

import pytest
import python_image
from fleet import Fleet
from test_modules import module
from test_tenants import said

pytestmark = pytest.mark.lab

#: Each row is a socket: what it says of itself, what is seen of its file, and whether it hears who connects to that.
PROGRAM = r"""
import ctypes, json, os, socket, struct, threading, time

STREAM, DATAGRAM, PACKETS = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
rows, kept = {}, []

def bound(address, kind=STREAM):
    found = socket.socket(socket.AF_UNIX, kind)
    found.bind(address)
    if kind != DATAGRAM:
        found.listen(5)
    found.settimeout(60)
    return found

def joined(path, kind=STREAM):
    found = socket.socket(socket.AF_UNIX, kind)
    found.settimeout(60)
    found.connect(path)
    kept.append(found)
    return found

def reached(sock, path):
    with socket.socket(socket.AF_UNIX, sock.type) as client:
        client.settimeout(60)
        client.connect(path)
        if sock.type == DATAGRAM:
            client.send(b"hello")
            return sock.recv(10)
        with sock.accept()[0] as server:
            client.send(b"hello")  # not before: what waits to be accepted must not have sent anything
            server.send(b"and back")
            return [server.recv(10), client.recv(10)]

def seen(path):
    status = os.lstat(path)
    attributes = [[name, os.getxattr(path, name).hex()] for name in os.listxattr(path)]
    return [oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, attributes]

def row(name, sock, *paths):
    rows[name] = lambda: [sock.getsockname(), *([path, seen(path), reached(sock, path)] for path in paths)]
    return sock

def moved(name, old, new, kind=STREAM):
    sock = bound(old, kind)
    os.rename(old, new)
    return row(name, sock, new)

def joint(name, sock, path):
    # a connection, once accepted
    client = joined(path, sock.type)
    server = sock.accept()[0]
    kept.append(server)
    def tell():
        client.send(b"1")
        server.send(b"2")
        return [server.getsockname(), client.getpeername(), client.getsockname(), server.recv(9), client.recv(9)]
    rows[name] = tell

for each in ("/s", "/s/first", "/s/relative", "/s/jail", "/s/gone", "/s/much", b"/s/\xff\xfe"):
    os.mkdir(each)
os.symlink("/s", "/link")

# the file has another name than the address
sock = moved("renamed", "/s/a.1", "/s/a")
os.chmod("/s/a", 0o620)
os.chown("/s/a", 7, 8)
acl = ((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 6, -1), (32, 0, -1))
os.setxattr("/s/a", "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *each) for each in acl))
joint("connection to a renamed one", sock, "/s/a")
moved("renamed datagrams", "/s/b.1", "/s/b", DATAGRAM)
moved("renamed packets", "/s/c.1", "/s/c", PACKETS)
row("in a renamed directory", bound("/s/first/d"), "/s/second/d")
os.rename("/s/first", "/s/second")
moved("to another directory", "/s/b.2", "/s/second/b")
os.chdir("/s/relative")
row("relative", bound("e"), "/s/relative/e")
row("relative with a dot", bound("./e2"), "/s/relative/e2")
sock = bound("f.1")
os.rename("f.1", "f")
row("relative and renamed", sock, "/s/relative/f")
row("relative by the directory above", bound("../relative/g"), "/s/relative/g")
os.chdir("/")
row("by a symbolic link", bound("/link/h"), "/s/h")
moved("by a symbolic link and renamed", "/link/h.1", "/s/h2")
row("by a long way", bound("/s/./second/..//h3"), "/s/h3")

# something else has the address' name
moved("replaced by a file", "/s/i", "/s/i.real")
with open("/s/i", "w") as file:
    file.write("contents")
rows["the file"] = lambda: open("/s/i").read()
moved("replaced by a socket", "/s/j", "/s/j.old")
row("its successor", bound("/s/j"), "/s/j")
moved("one of two with one address", "/s/k", "/s/k1")
moved("the other", "/s/k", "/s/k2")
sock = bound("/s/l")
joint("connection to one whose name was taken over", sock, "/s/l")
os.unlink("/s/l")
row("unlinked", sock)
row("bound again", bound("/s/l"), "/s/l")
sock = bound("/s/m")
joint("connection to one that was replaced", sock, "/s/m")
next_one = bound("/s/m.new")
os.rename("/s/m.new", "/s/m")
row("replaced", sock)
row("replacing", next_one, "/s/m")
sock = bound("/s/gone/n")
joint("connection to an unlinked one", sock, "/s/gone/n")
os.unlink("/s/gone/n")
os.rmdir("/s/gone")
row("unlinked with its directory", sock)
sock = bound("/s/o", DATAGRAM)
client = joined("/s/o", DATAGRAM)
os.rename("/s/o", "/s/o.new")
row("datagrams with a client", sock, "/s/o.new")
rows["their client"] = lambda client=client, sock=sock: [client.send(b"to you"), client.getpeername(), sock.recv(10)]
waiting = moved("with a client in the backlog", "/s/p.1", "/s/p")
fresh = joined("/s/p")
def greeted():
    return [fresh.getpeername(), fresh.fileno() > 0]
rows["in the backlog"] = greeted
del rows["with a client in the backlog"]
rows["with a client in the backlog"] = lambda: [waiting.getsockname(), seen("/s/p")]
sock = bound("/s/q")
joint("connection whose listener is closed", sock, "/s/q")
sock.close()
rows["whose file is left"] = lambda: seen("/s/q")
caller = socket.socket(socket.AF_UNIX)
caller.bind("/s/r")
named = bound("/s/r.listener")
caller.connect("/s/r.listener")
answering = named.accept()[0]
rows["a client with a name"] = lambda: [caller.getsockname(), answering.getpeername(), seen("/s/r")]
sock = bound("/s/stale")
sock.close()
rows["nobody's file"] = lambda: seen("/s/stale")

# several names
sock = bound("/s/t")
os.link("/s/t", "/s/t2")
row("two names", sock, "/s/t", "/s/t2")
sock = bound("/s/u.tmp")
os.link("/s/u.tmp", "/s/u")
os.unlink("/s/u.tmp")
row("a name that was linked, and the first removed", sock, "/s/u")

# other places, odd names
for place in ("/memory", "/volume", "/dev/shm"):
    moved(f"renamed in {place}", f"{place}/v.1", f"{place}/v")
    row(f"in {place}", bound(f"{place}/w"), f"{place}/w")
os.symlink("/s/much", "/m")
sock = socket.socket(socket.AF_UNIX)
libc = ctypes.CDLL(None)
assert not libc.bind(sock.fileno(), struct.pack("H108s", socket.AF_UNIX, b"/s/much/" + b"x" * 100), 110)
sock.listen()
row("as long as can be", sock, "/m/" + "x" * 100)
row("that is no UTF-8", bound(b"/s/\xff\xfe/\xfd"), b"/s/\xff\xfe/\xfd")
sock = bound(b"/s/\xff\xfe/\xfd.1")
os.rename(b"/s/\xff\xfe/\xfd.1", b"/s/\xff\xfe/\xfc")
row("that is no UTF-8, renamed", sock, b"/s/\xff\xfe/\xfc")
os.chdir(b"/s/\xff\xfe")
row("relative, in a directory that is no UTF-8", bound("relative"), b"/s/\xff\xfe/relative")
os.chdir("/")
row("abstract", bound(b"\0some\0thing\0"), )
sock = bound(b"\0other")
joint("connection to an abstract one", sock, b"\0other")
longer = bound("/s/longer")
os.mkdir("/s/" + "y" * 200)
os.rename("/s/longer", "/s/" + "y" * 200 + "/" + "z" * 200)
rows["renamed to a longer name"] = lambda: [longer.getsockname(), seen("/s/" + "y" * 200 + "/" + "z" * 200)]

row("the system's log", bound("/dev/log", DATAGRAM), "/dev/log")
sock = moved("sent to somebody, who has not taken it", "/s/sent.1", "/s/sent")
pair = socket.socketpair()
socket.send_fds(pair[0], [b"x"], [sock.fileno()])

reading, writing = os.pipe()
jailed = os.fork()
if not jailed:
    os.chroot("/s/jail")
    os.chdir("/")
    sock = bound("/x")
    os.write(writing, b"x")
    while True:
        try:
            with sock.accept()[0] as server:
                server.send(repr(sock.getsockname()).encode())
        except TimeoutError:
            pass
os.read(reading, 1)
def in_jail():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("/s/jail/x")
        return [client.recv(100), seen("/s/jail/x")]
rows["bound after a chroot"] = in_jail

for directory, _, names in os.walk(b"/s"):
    for name in names:
        os.utime(os.path.join(directory, name), ns=(10**18, 10**18 + 7), follow_symlinks=False)
for directory, _, names in os.walk(b"/s"):
    os.utime(directory, ns=(10**18, 10**18 + 9))
places = ["/s", "/s/second", "/s/relative", "/s/jail", b"/s/\xff\xfe", "/memory", "/volume", "/dev/shm", "/dev"]
rows["their directories"] = lambda: [[each, sorted(os.listdir(each)), os.stat(each).st_mtime_ns] for each in places]

watch = libc.inotify_init1(os.O_NONBLOCK)
assert libc.inotify_add_watch(watch, b"/s", 0x3c4) >= 0  # what changes, comes or goes in it
events = []
def noticed():
    try:
        events.append(os.read(watch, 4096).hex())
    except BlockingIOError:
        pass
    return events
rows["events in the directory"] = noticed
"""


#: How both programs end: they say again and again what they see.
TELLING = r"""
def told(tell):
    try:
        return tell()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

while True:
    print(json.dumps({name: told(tell) for name, tell in rows.items()}, default=str), flush=True)
    time.sleep(0.3)
"""


def begun(fleet: Fleet, name: str, program: str, options: str) -> tuple[dict[str, Any], int]:
    """Run a program that tells its rows, none of which may be broken; return them, and how many lines it has said."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", name, program + TELLING, options)
    first, lines = said(fleet, "host1", name, 2)
    broken = {row: seen for row, seen in first.items() if "Error: " in str(seen)}
    assert not broken, broken
    return first, lines


def moved(fleet: Fleet, name: str, first: dict[str, Any], lines: int, host: str, *options: str) -> int:
    """Move it: what it says then must be what it said at ``first``. Return how many lines it has said."""
    fleet.move(name, host, *options)
    now, lines = said(fleet, host, name, lines + 5)
    different = {row: (seen, now.get(row)) for row, seen in first.items() if now.get(row) != seen}
    assert not different, json.dumps(different, indent=1)
    return lines


def test_sockets_have_on_each_host_the_files_that_they_had(fleet: Fleet) -> None:
    """Between both versions of Docker, and back: what a hop has made must be carried by the next."""
    first, lines = begun(fleet, "sockets", PROGRAM, "--tmpfs /memory -v /volume")
    for host in ("host3", "host2"):
        lines = moved(fleet, "sockets", first, lines, host)


BINDER = """
import os, socket, time
sock = socket.socket(socket.AF_UNIX)
sock.bind("PLACE/s.1")
sock.listen()
os.rename("PLACE/s.1", "PLACE/s")
"""
#: A listening socket that is in no process any more, only on its way.
SENT = """
pair = socket.socketpair()
socket.send_fds(pair[0], [b"x"], [sock.fileno()])
sock.close()
"""
WAIT = """
print(json.dumps("ready"), flush=True)
time.sleep(1e6)
"""

#: Mounts something above the directory that the socket's file is in.
HIDE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.setns(os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY))
assert libc.mount(b"/tmp", b"/run", None, 4096, None) == 0
"""


def test_what_cannot_be_carried_is_refused(fleet: Fleet) -> None:
    """Before anything is frozen; and what is so for a moment, in the freeze."""
    python_image.make(fleet)
    programs = {"shown": ("/shown", "-v /srv/sockets:/shown"), "hidden": ("/run", ""), "sent": ("/run", "")}
    for name, (place, options) in programs.items():
        program = "import json\n" + BINDER.replace("PLACE", place) + (SENT if name == "sent" else "") + WAIT
        python_image.run(fleet, "host1", name, f"import os; os.makedirs('{place}', exist_ok=True)\n" + program, options)
        said(fleet, "host1", name)
    fleet.on("host1", f"pid=$(docker inspect -f '{{{{.State.Pid}}}}' hidden); python3 -c '{HIDE}' $pid")
    info = module(fleet, "host1", "relocation_info", register_fact=False)["relocation_info"]
    refusals = {container["name"]: " / ".join(container["refusals"]) for container in info["containers"]}
    assert "(python3) has a unix socket bound to /shown/s.1, in a directory of the host (/shown)" in refusals["shown"]
    assert "has a unix socket bound to /run/s.1, whose file cannot be reached any more" in refusals["hidden"]
    assert refusals["sent"] == ""
    result = fleet.move("sent", "host3", check=False)
    assert result["outcome"] == "rolled-back", result
    assert "bound to /run/s.1 is on its way from one program of the container to another: try again" in result["msg"]
    fleet.on("host1", "rm -rf /srv/sockets")


#: Each row is a connection, or somebody who listens: whom its ends name (SO_PEERCRED), and how they are called.
PEERS = r"""
import json, os, signal, socket, struct, time

STREAM, DATAGRAM, PACKETS = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
rows = {}
os.mkdir("/s")
os.chmod("/s", 0o777)

def become(uid, gid, *groups):
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)

def named(sock):
    found = struct.unpack("3i", sock.getsockopt(1, 17, 12))
    groups = sock.getsockopt(1, 59, 400) if found[1] != -1 else b""
    try:
        other = repr(sock.getpeername())
    except OSError:
        other = ""
    return [*found, *memoryview(groups).cast("I"), repr(sock.getsockname()), other]

def answer(sock):
    while sock.recv(1):
        sock.send(json.dumps(named(sock)).encode())
    os._exit(0)

def child(*work):
    pid = os.fork()
    if not pid:
        signal.alarm(3000)
        for each in work:
            each()
        os._exit(0)
    return pid

def both(sock):
    sock.settimeout(60)
    def tell():
        sock.send(b"?")
        return [named(sock), json.loads(sock.recv(1000))]
    return tell

def listening(address, kind=STREAM):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(address)
    if isinstance(address, str):
        os.chmod(address, 0o777)
    sock.listen(8)
    return sock

def joined(address, kind=STREAM):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.settimeout(60)
    sock.connect(address)
    return sock

def served(name, address, kind=STREAM, *user, server=None):
    server = server or listening(address, kind)
    child(lambda: server.close(), lambda: become(*user), lambda: answer(joined(address, kind)))
    rows[name] = both(server.accept()[0])
    return server

first = served("a client of another user", "/s/a", STREAM, 1000, 1001, 5, 1001)
served("another client of the same", "/s/a", STREAM, 1002, 1002, server=first)
served("packets", "/s/b", PACKETS, 1000, 1001, 6)
served("an abstract address", b"\0peers", STREAM, 1000, 1001)
served("a client of the same user", "/s/c", STREAM, 0, 0)

reading, writing = os.pipe()
def serve():
    server = listening("/s/d")
    os.write(writing, b"x")
    answer(server.accept()[0])
child(lambda: become(33, 34, 35), serve)
os.read(reading, 1)
rows["a server of another user"] = both(joined("/s/d"))

ours, theirs = socket.socketpair()
child(lambda: become(1000, 1001), lambda: answer(theirs))
theirs.close()
rows["a pair from before a fork"] = both(ours)
for name, kind in (("a pair of another user", STREAM), ("datagrams of another user", DATAGRAM)):
    os.setgroups([77])
    os.setegid(1001)
    os.seteuid(1000)
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    os.seteuid(0)
    os.setegid(0)
    os.setgroups([])
    child(lambda: answer(theirs))
    theirs.close()
    rows[name] = both(ours)

def leave_to_child():
    sock = joined("/s/a")
    if os.fork():
        os._exit(0)
    answer(sock)
ended = child(lambda: first.close(), lambda: become(1000, 1001), leave_to_child)
os.waitpid(ended, 0)
rows["a client that has ended"] = both(first.accept()[0])

reading, writing = os.pipe()
def listen_and_leave():
    server = listening("/s/e")
    if os.fork():
        os._exit(0)
    os.write(writing, b"x")
    kept = []
    while True:
        kept.append(server.accept()[0])
ended = child(lambda: become(7, 8, 9), listen_and_leave)
os.waitpid(ended, 0)
os.read(reading, 1)
rows["who listens has ended"] = lambda: named(joined("/s/e"))

gone = child(lambda: become(1000, 1001), lambda: joined("/s/a"))
left = first.accept()[0]
os.waitpid(gone, 0)
rows["its peer is gone"] = lambda: named(left)

backlog = listening("/s/f")
def knock():
    while True:
        try:
            joined("/s/f").recv(1)
        except OSError:
            pass
child(lambda: backlog.close(), lambda: become(1000, 1001, 4), knock)
def accepted():
    backlog.settimeout(60)
    with backlog.accept()[0] as sock:
        return named(sock)
rows["one that waits to be accepted"] = accepted

listeners = socket.socketpair()
def listen_for_another():
    server = listening("/s/g")
    socket.send_fds(listeners[0], [b"x"], [server.fileno()])
    server.close()
    time.sleep(1e6)
child(lambda: become(1000, 1001), listen_for_another)
given = socket.socket(fileno=socket.recv_fds(listeners[1], 1, 1)[1][0])
def asked_of():
    with joined("/s/g") as sock, given.accept()[0]:
        return named(sock)
rows["who listens is another process"] = asked_of
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
"""


def test_connections_name_the_peers_that_they_named(fleet: Fleet) -> None:
    """Process, user and groups; from either end, after a second hop too, and in both modes: never root instead of a user."""
    first, lines = begun(fleet, "peers", PEERS, "--tmpfs /memory")
    users = {row[1] for row in first.values() if not isinstance(row[0], list)}
    users |= {end[1] for row in first.values() if isinstance(row[0], list) for end in row}
    assert users == {0, 7, 33, 1000, 1002}, first
    # nobody in the container may be given the number of a process that lives, and did not do it
    other = first["who listens is another process"]
    first["who listens is another process"] = [0, *other[1:]]
    for host, mode in (("host3", "stop-and-copy"), ("host2", "post-copy"), ("host1", "stop-and-copy")):
        lines = moved(fleet, "peers", first, lines, host, "--mode", mode)
