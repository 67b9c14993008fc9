# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs are known to do to whoever checkpoints them: one container for each kind, asked before and after each hop.

Each program defines ``state``, what it has; it is printed again and again, and must be the same on every host. What goes on by
itself, such as a timer, checks itself and tells in ``wrong`` what it has missed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time

import pytest
import python_image
from fleet import REPOSITORY, VIRTUAL, Fleet
from test_modules import module
from test_tenants import said
from waiting import until

pytestmark = pytest.mark.lab

FRAME = """
import ctypes, fcntl, json, mmap, os, resource, select, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.shmat.restype = ctypes.c_void_p
wrong = []

def checked(result):
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result

PROGRAM

while True:
    print(json.dumps({"wrong": wrong, **state()}, default=str), flush=True)
    time.sleep(0.1)
"""

MEMORY = """
# a file of the writable layer that a program counts in through a mapping: JVM's hsperfdata, SQLite's -shm, LMDB
file = open("/counter", "w+b")
file.truncate(4096)
counter = mmap.mmap(file.fileno(), 4096)

def count():
    number = 0
    while True:
        seen = struct.unpack_from("Q", counter)[0]
        if seen != number:
            wrong.append(f"the mapped file has {seen} instead of {number}")
            number = seen
        number += 1
        struct.pack_into("Q", counter, 0, number)
        time.sleep(0.001)

threading.Thread(target=count, daemon=True).start()

memory = os.memfd_create("some", os.MFD_ALLOW_SEALING)
os.write(memory, b"sealed")
fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
segment = checked(libc.shmget(77, 4096, 0o1600))
place = libc.shmat(segment, None, 0)
ctypes.memmove(place, b"shared", 6)
queue = checked(libc.msgget(78, 0o1600))
checked(libc.msgsnd(queue, struct.pack("q", 5) + b"message", 7, 0))
semaphore = checked(libc.semget(79, 1, 0o1600))
checked(libc.semctl(semaphore, 0, 16, 3))  # SETVAL

nameless = os.open("/", os.O_TMPFILE | os.O_RDWR)
os.write(nameless, b"nameless")
for odd in (b"/odd \\xff\\xfe", b"/odd (deleted)", b"/odd\\nline", "/odd \\u00fc".encode()):
    with open(odd, "wb") as each:
        each.write(odd)
opened = open(b"/odd \\xff\\xfe", "rb")
gone = os.open("/gone", os.O_CREAT | os.O_RDWR)
os.write(gone, b"gone")
os.unlink("/gone")
os.link("/counter", "/same")
os.mkfifo("/fifo")
os.symlink("nowhere", "/link")
os.setxattr("/same", "user.kept", b"yes")
with open("/sparse", "wb") as each:
    each.truncate(1 << 30)
    each.seek(1 << 29)
    each.write(b"here")
os.utime("/fifo", ns=(1, 2))

def state():
    return {
        "memfd": [os.pread(memory, 9, 0), fcntl.fcntl(memory, fcntl.F_GET_SEALS)],
        "shm": ctypes.string_at(place, 6),
        "queue": open("/proc/sysvipc/msg").read().split()[16:21],
        "semaphore": libc.semctl(semaphore, 0, 12),
        "nameless": os.pread(nameless, 9, 0),
        "odd": [open(b"/" + each, "rb").read() for each in sorted(os.listdir(b"/")) if each.startswith(b"odd")],
        "opened": [os.readlink(f"/proc/self/fd/{opened.fileno()}"), os.pread(opened.fileno(), 9, 0)],
        "gone": os.pread(gone, 9, 0),
        "same": os.path.samefile("/same", "/counter"),
        "link": os.readlink("/link"),
        "xattr": os.getxattr("/counter", "user.kept"),
        "sparse": [os.stat("/sparse").st_size, os.stat("/sparse").st_blocks < 1000, os.stat("/fifo").st_mtime_ns],
    }
"""

WAITING = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

# timers of two kinds, each of which is late if it does not go on, and early if it begins anew
def ticks(name, period, wait):
    last = time.monotonic()
    while True:
        wait()
        now = time.monotonic()
        if not period * 0.2 < now - last < period + 3.0:
            wrong.append(f"{name} came after {now - last:.3f} s instead of {period}")
        last = now

libc.timerfd_create.restype = ctypes.c_int
timer = checked(libc.timerfd_create(1, 0))
checked(libc.timerfd_settime(timer, 0, struct.pack("qqqq", 0, 200_000_000, 0, 200_000_000), None))
threading.Thread(target=ticks, args=("timerfd", 0.2, lambda: os.read(timer, 8)), daemon=True).start()
rung = threading.Semaphore(0)
signal.signal(signal.SIGALRM, lambda *_: rung.release())
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)
threading.Thread(target=ticks, args=("setitimer", 0.3, rung.acquire), daemon=True).start()
event = os.eventfd(7, os.EFD_NONBLOCK)
child = os.fork()
if not child:
    while True:
        time.sleep(1)
process = os.pidfd_open(child)
zombie = os.fork()
if not zombie:
    os._exit(3)
poll = select.epoll()
reading, writing = os.pipe2(os.O_NONBLOCK)
poll.register(reading, select.EPOLLIN)
os.write(writing, b"unread")
fcntl.fcntl(writing, 1031, 1 << 17)  # F_SETPIPE_SZ
mask = struct.pack("Q", 1 << (signal.SIGUSR1 - 1)).ljust(128, b"\\0")
signals = checked(libc.signalfd(-1, mask, 0))
os.kill(os.getpid(), signal.SIGUSR1)
master, slave = os.openpty()
fcntl.ioctl(master, 0x5414, struct.pack("HHHH", 33, 77, 0, 0))  # TIOCSWINSZ
echo = os.fork()
if not echo:
    os.setsid()
    while True:
        os.write(slave, os.read(slave, 100).upper())
os.sched_setscheduler(child, os.SCHED_IDLE, os.sched_param(0))
os.sched_setscheduler(echo, os.SCHED_BATCH, os.sched_param(0))
checked(libc.prctl(4, 0, 0, 0, 0))  # PR_SET_DUMPABLE
checked(libc.prctl(36, 1, 0, 0, 0))  # PR_SET_CHILD_SUBREAPER
checked(libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
checked(libc.prctl(15, b"renamed", 0, 0, 0))  # PR_SET_NAME
# getppid(2) fails with 77 from now on
number = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
code = struct.pack("HBBIHBBIHBBIHBBI", 0x20, 0, 0, 0, 0x15, 0, 1, number, 6, 0, 0, 0x50000 | 77, 6, 0, 0, 0x7FFF0000)
kept = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(kept)))
filtered = []

def filtering():
    checked(libc.prctl(22, 2, ctypes.byref(program), 0, 0))  # PR_SET_SECCOMP
    while True:
        filtered[:] = [libc.getppid(), ctypes.get_errno()]
        time.sleep(0.05)

threading.Thread(target=filtering, daemon=True).start()
time.sleep(0.2)

def spoken():
    os.write(master, b"word\\n")
    heard = b""
    while b"WORD" not in heard and select.select([master], [], [], 3)[0]:
        heard += os.read(master, 100)
    return b"WORD" in heard

def state():
    return {
        "event": [os.eventfd_read(event), os.eventfd_write(event, 7)],
        "pidfd": [len(select.select([process], [], [], 0)[0]), f"Pid:\t{child}" in open(f"/proc/self/fdinfo/{process}").read()],
        "zombie": open(f"/proc/{zombie}/stat").read().split()[2],
        "epoll": [poll.poll(0), fcntl.fcntl(reading, 1032)],
        "pending": sorted(signal.sigpending()),
        "pty": [spoken(), list(os.get_terminal_size(master))],
        "policies": [os.sched_getscheduler(child), os.sched_getscheduler(echo)],
        "prctl": [libc.prctl(3), libc.prctl(39, 0, 0, 0, 0), open("/proc/self/comm").read()],
        "filtered": filtered[:],
        "session": [os.getsid(0), os.getpgid(echo) == echo, os.getpgid(child)],
    }
"""

SOCKETS = """
os.setgroups([])  # as memcached, dnsmasq and sshd do
socket.setdefaulttimeout(5)

def option(sock, *key):
    value = sock.getsockopt(*key, 64)
    return value.rstrip(b"\\0") if key == (6, 13) else value

listener = socket.create_server(("127.0.0.1", 6000))
own = {(6, 18): 7000, (6, 8): 33, (6, 25): 16384, (6, 9): 3, (6, 23): 9, (0, 13): 1, (1, 29): 1, (6, 4): 99, (6, 1): 1}
for key, value in own.items():
    listener.setsockopt(*key, value)
listener.setsockopt(6, 13, b"reno")
client = socket.create_connection(("127.0.0.1", 6000))
client.setsockopt(6, 18, 5000)
client.send(b"first")
server = listener.accept()[0]
client.send(b"unread")
datagram = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
datagram.setsockopt(17, 103, 512)  # UDP_SEGMENT
datagram.setsockopt(41, 67, 0x20)  # IPV6_TCLASS
ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
link = socket.socket(16, socket.SOCK_RAW, 0)  # AF_NETLINK
link.bind((0, 0))
packet = socket.socket(17, socket.SOCK_RAW, 0)  # AF_PACKET, of no protocol
one, two = socket.socketpair()
socket.send_fds(one, [b"with"], [listener.fileno()])
one.send(b"later")
path = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
path.bind("/named")
path.listen()
joined = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
joined.connect("/named")
other = path.accept()[0]
half = [socket.create_connection(("127.0.0.1", 6000)), listener.accept()[0]]
half[0].send(b"last words")
half[0].shutdown(socket.SHUT_WR)

def pinged():
    ping.sendto(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"x" * 8, ("127.0.0.1", 0))
    return bool(select.select([ping], [], [], 3)[0]) and len(ping.recv(100)) > 0

def state():
    while select.select([raw], [], [], 0)[0]:
        raw.recv(2000)
    other.send(b"seq")
    half[1].send(b"x")
    return {
        "groups": os.getgroups(),
        "listener": [option(listener, *key) for key in [*own, (6, 13)]],
        "connection": [option(client, 6, 18), option(server, 6, 13), option(server, 6, 18)],
        "unread": server.recv(100, socket.MSG_PEEK),
        "datagram": [option(datagram, 17, 103), option(datagram, 41, 67)],
        "ping": pinged(),
        "types": [each.getsockopt(1, 3) for each in (raw, link, packet)],
        "pair": two.recv(100, socket.MSG_PEEK),
        "seqpacket": joined.recv(100),
        "half": [half[1].recv(100, socket.MSG_PEEK), half[0].recv(1)],
    }
"""

#: Far more address space than there is memory, as databases, garbage collectors and sanitizers reserve it, and one area for
#: each thing that a program can say of its memory. A child has the same areas, which CRIU gives it from its parent.
AREAS = """
import re

libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = libc.mprotect.argtypes
libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
TIB, MIB, PAGE = 1 << 40, 1 << 20, mmap.PAGESIZE
PRIVATE, SHARED, RESERVE, DOWN = 0x22, 0x21, 0x4000, 0x100

def area(size, prot=3, flags=PRIVATE):
    at = libc.mmap(None, size + 2 * PAGE, 0, PRIVATE, -1, 0)  # a gap on either side: neighbours would be one area
    at = libc.mmap(at + PAGE, size, prot, flags | 0x10, -1, 0)
    assert at != 2**64 - 1, os.strerror(ctypes.get_errno())
    return at

def checked(result):
    assert result == 0, os.strerror(ctypes.get_errno())

areas = {}
for name, size, prot, flags in (("plain", 8 * TIB, 0, PRIVATE), ("noreserve", 4 * TIB, 0, PRIVATE | RESERVE),
                                ("writable", TIB, 3, PRIVATE | RESERVE), ("readable", TIB, 1, PRIVATE),
                                ("shared", 32 << 30, 3, SHARED | RESERVE)):
    areas[name] = at = area(size, prot, flags)
    for n, place in enumerate((MIB, size // 2, size - MIB)):  # what is committed of it
        if prot == 0:
            checked(libc.mprotect(at + place, PAGE, 3))
        if prot != 1:
            ctypes.memset(at + place, 65 + n, 8)
ADVICE = {"random": 1, "sequential": 2, "dontfork": 10, "mergeable": 12, "hugepage": 14, "nohugepage": 15, "dontdump": 16,
          "wipeonfork": 18}
for name, advice in ADVICE.items():
    areas[name] = area(4 * MIB)
    ctypes.memset(areas[name], 65, 8)
    checked(libc.madvise(areas[name], 4 * MIB, advice))
areas["locked"] = area(MIB)
checked(libc.mlock(areas["locked"], MIB))
areas["none"] = area(MIB)
ctypes.memset(areas["none"], 66, 8)
checked(libc.mprotect(areas["none"], MIB, 0))
areas["grows"] = area(16 * PAGE, 3, PRIVATE | DOWN)
ctypes.memset(areas["grows"] + 15 * PAGE, 67, 8)
areas["guarded"] = area(MIB)
ctypes.memset(areas["guarded"] + PAGE, 68, 8)
GUARDS = libc.madvise(areas["guarded"], PAGE, 102) == 0

def flags(pid):
    found = {}
    for entry in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", open(f"/proc/{pid}/smaps").read())[1:]:
        begin, end = (int(word, 16) for word in entry.split(" ")[0].split("-"))
        for name, at in areas.items():
            if begin <= at < end or (name == "grows" and begin <= at + 15 * PAGE < end):
                words = entry.partition("VmFlags:")[2].split()
                key = "0" if "ProtectionKey" not in entry else entry.partition("ProtectionKey:")[2].split()[0]
                found[name] = [entry.split()[1], sorted(set(words) - {"sd", "ac", "nr", "um"}), key]
    return found

def text(at):
    return ctypes.string_at(at, 8).decode("latin1")

def guarded():
    ours, theirs = os.pipe()
    result = libc.write(theirs, ctypes.c_void_p(areas["guarded"]), ctypes.c_size_t(1))
    os.close(ours), os.close(theirs)
    return result

child = os.fork()
while not child:
    signal.pause()

def state():
    kept = {name: [text(areas[name] + place) for place in (MIB, size // 2, size - MIB)]
            for name, size in (("plain", 8 * TIB), ("noreserve", 4 * TIB), ("writable", TIB), ("shared", 32 << 30))}
    checked(libc.mprotect(areas["none"], MIB, 1))
    kept["none"] = text(areas["none"])
    checked(libc.mprotect(areas["none"], MIB, 0))
    kept["guarded"] = [GUARDS and guarded(), text(areas["guarded"] + PAGE)]
    kept["grows"] = text(areas["grows"] + 15 * PAGE)
    # more of it can be committed
    state.n = getattr(state, "n", 0) + 1
    place = areas["plain"] + 4 * MIB + state.n * PAGE
    checked(libc.mprotect(place, PAGE, 3))
    ctypes.memset(place, 1, 8)
    return {"kept": kept, "flags": [flags(pid) for pid in (os.getpid(), child)],
            "small": int(open("/proc/self/statm").read().split()[1]) * PAGE < 200 * MIB}
"""

PROGRAMS = {"memory": MEMORY, "areas": AREAS, "waiting": WAITING, "sockets": SOCKETS}
#: Of its hops. In post-copy CRIU maps all of a program's areas anew, and then puts them in their places.
MODES = {"areas": ("post-copy", "stop-and-copy")}
OPTIONS = {
    "memory": "-e 'ODD=a\nb \"c\" ü' --label 'odd=\"quoted\" ü' --cap-drop ALL --oom-score-adj 200",
    "waiting": "--tmpfs /tmp --ipc private",
    "sockets": "--cap-add NET_RAW",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_after_each_hop_what_it_had(fleet: Fleet, name: str) -> None:
    """Between both versions of Docker, and back."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", name, FRAME.replace("PROGRAM", PROGRAMS[name]), OPTIONS.get(name, ""))
    first, lines = said(fleet, "host1", name, 3)
    print(json.dumps(first, indent=1))
    assert not first["wrong"]
    for host, mode in zip(("host3", "host2"), MODES.get(name, ("auto", "auto")), strict=True):
        time.sleep(1)
        fleet.move(name, host, "--mode", mode)
        now, lines = said(fleet, host, name, lines + 5)
        different = {key: (first[key], now[key]) for key in first if now[key] != first[key]}
        assert not different, different


LOGGER = "i=0; while :; do i=$((i+1)); echo line $i; /bin/busybox usleep 5000; done"
TALKER = "printf abc; /bin/busybox sleep 6; echo def; while :; do /bin/busybox sleep 1; done"


def numbers_of(fleet: Fleet, host: str, name: str) -> list[int]:
    """Return the numbers in a log, none of which may be missing. Its writer stands still: nobody turns it over meanwhile."""
    logs = f"docker pause {name} >/dev/null; docker logs {name} 2>/dev/null; docker unpause {name} >/dev/null"
    look = lambda: [int(line.split()[1]) for line in fleet.on(host, logs).splitlines()]  # noqa: E731
    numbers = until(look, f"a log of {name} that was not emptied just now")
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), (host, name, numbers)
    return numbers


def test_the_log_of_a_program_that_talks_much_and_of_one_that_is_in_the_middle_of_a_line(fleet: Fleet) -> None:
    """A log that is truncated in place, one of several files, the same of the other driver, and half a line."""
    logs = {
        "small": "",
        "rotated": "--log-opt max-file=3",
        "small-local": "--log-driver local --log-opt max-file=1 --log-opt compress=false",
        "local": "--log-driver local --log-opt max-file=3",
    }
    fleet.tenants += [*logs, "talker"]
    run = f"docker run -d --log-opt max-size=4k {{}} {REPOSITORY}/idle:1 /bin/busybox sh -c '{{}}'"
    for name, options in logs.items():
        fleet.on("host1", run.format(f"--name {name} {options}", LOGGER))
    for host in ("host3", "host1"):
        for name in logs:
            here = "host1" if host == "host3" else "host3"
            log = lambda: numbers_of(fleet, here, name)  # noqa: B023, E731
            last = until(log, "a log that was turned over", lambda numbers: numbers[-1] > 200)[-1]
            fleet.move(name, host)
            until(lambda: numbers_of(fleet, host, name)[-1], "lines of here", lambda number: number > last + 20)  # noqa: B023
    fleet.on("host1", run.format("--name talker", TALKER))
    fleet.move("talker", "host3")
    log = until(lambda: fleet.on("host3", "docker logs talker"), "the rest of the line", lambda found: "def" in found)
    assert log == "abcdef"


#: Writes all of an answer at once, and closes: what is left is the kernel's.
ANSWERER = """
import socket
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)  # SO_SNDBUFFORCE
listener.bind(("", 7310))
listener.listen()
pattern = bytes(range(256)) * 4096
while True:
    connection = listener.accept()[0]
    connection.sendall(pattern * 4)
    connection.close()
    print("closed", flush=True)
"""
#: Reads nothing of the answer until it is told to.
SLOW = """
import hashlib, socket, sys
connection = socket.create_connection((sys.argv[1], 7310))
input()
found = hashlib.sha256()
while data := connection.recv(65536):
    found.update(data)
print(found.hexdigest())
"""


def test_an_answer_that_is_still_on_its_way_when_its_socket_is_closed(fleet: Fleet) -> None:
    """The move is taken back until the client has every byte; nothing is frozen for that."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "answerer", ANSWERER, "-p 7310:7310 --cap-add NET_ADMIN")
    place = {"host_address": fleet.variables("host1")["ansible_host"], "host_port": 7310}
    made = module(fleet, "host0", "nat_service", name="answerer", virtual_address=VIRTUAL, virtual_port=7310, **place)
    assert made["changed"], made
    command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", SLOW, VIRTUAL]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        fleet.await_on("host1", "docker logs answerer | grep -q closed", "an answer that is on its way")
        result = fleet.move("answerer", "host3", check=False)
        assert result["outcome"] == "rolled-back" and "last words of 1 closed connections" in result["msg"], result
        told, _ = client.communicate("\n", timeout=300)
    finally:
        client.kill()
    assert told.strip() == hashlib.sha256(bytes(range(256)) * 4096 * 4).hexdigest()
    fleet.move("answerer", "host3")


#: Starts programs all the time; there is none of that name, which is soon said. The other is told of each change of a link.
STARTER = """
import os, threading, time
started = 0

def starts():
    global started
    while True:
        try:
            os.posix_spawn("/nothing", ["x"], {})
        except OSError:
            started += 1

for _ in range(2):
    threading.Thread(target=starts, daemon=True).start()
while True:
    print(started, flush=True)
    time.sleep(0.1)
"""
DEAF = """
import fcntl, socket, struct, time
told = socket.socket(16, 3, 0)  # AF_NETLINK
told.bind((0, 1))  # RTMGRP_LINK
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for flags in (0, 1):  # lo down, and up
    fcntl.ioctl(link, 0x8914, struct.pack("16sh22x", b"lo", flags))
print("ready", flush=True)
time.sleep(1e6)
"""


def test_programs_that_start_others_and_one_that_does_not_listen(fleet: Fleet) -> None:
    """The former are frozen in time, whatever they are doing; the latter is told before anything is frozen."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "starter", STARTER)
    python_image.run(fleet, "host1", "deaf", DEAF, "--cap-add NET_ADMIN")
    for host in ("host3", "host2", "host1"):
        lines = len(fleet.on(fleet.where("starter")[0], "docker logs starter").splitlines())
        fleet.move("starter", host)
        log = lambda: fleet.on(host, "docker logs starter").splitlines()  # noqa: B023, E731
        lately = until(log, "a program that goes on", lambda found: len(found) >= lines + 5)  # noqa: B023
        assert int(lately[-1]) > int(lately[0])
    refused = fleet.move("deaf", "host2", check=False)
    assert refused["outcome"] == "rolled-back" and "what the kernel has told it" in refused["msg"], refused
    assert not refused.get("frozen_at"), refused


def test_an_image_that_is_named_by_its_digest(fleet: Fleet) -> None:
    """The destination does not have it yet; and a link-layer address that was asked for stays."""
    fleet.on("host1", f"docker pull -q {REPOSITORY}/idle:1")
    image = fleet.on("host1", f"docker inspect -f '{{{{index .RepoDigests 0}}}}' {REPOSITORY}/idle:1")
    fleet.tenants.append("digested")
    address = "--mac-address 02:42:ac:1e:00:09"
    fleet.on("host1", f"docker run -d {address} --name digested {image} /bin/busybox sh -c 'while :; do sleep 1; done'")
    for host in ("host3", "host2"):
        fleet.on(host, f"docker rmi -f $(docker images -q {REPOSITORY}/idle) 2>/dev/null; true")
        fleet.move("digested", host)
        found = json.loads(fleet.on(host, "docker inspect digested"))[0]
        assert found["Config"]["Image"] == image
        assert (
            fleet.on(host, "docker exec digested /bin/busybox cat /sys/class/net/eth0/address") == "02:42:ac:1e:00:09"
        )
