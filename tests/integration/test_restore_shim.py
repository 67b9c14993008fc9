# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The object that is preloaded into CRIU, in a Python that makes the calls that CRIU makes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.memory import peer_images

from tests.paths import PROXY

from .namespaces import Network

pytestmark = pytest.mark.needs("cc")

SOURCE = PROXY / "restore_shim.c"
#: What CRIU does at a restore, as far as the object sees it; "1" to "3" are said when a wait is over.
RESTORE = """
import ctypes, os, socket, sys
ptrace, DETACH, NOBODY = ctypes.CDLL(None).ptrace, 17, 0x7FFFFFFF
images = os.open(sys.argv[1], os.O_RDONLY)
for name in ("core-1.img", "inventory.img", "inventory.img"):
    os.close(os.open(name, os.O_RDONLY, dir_fd=images))
print(1, flush=True)
criu, runc = socket.socketpair()
criu.send(b"post-restore and pre-resume in a log")
runc.send(b"anything")
assert criu.recv(100) == b"anything"
for number, notice in ((2, b"post-restore"), (3, b"pre-resume")):
    runc.send(b"agreed")
    ptrace(DETACH, NOBODY, 0, 0)  # an attempt counts
    criu.send(bytes([8, 6, 16, 1, 42, len(notice) + 2, 10, len(notice)]) + notice)
    assert criu.recv(100) == b"agreed"
    print(number, flush=True)
for _ in range(2):
    assert ptrace(DETACH, NOBODY, 0, 0) == -1
print(4, flush=True)
"""
#: Sends messages to itself and prints the type that each arrives with.
REQUESTS = """
import socket, struct
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for length, kind, flags in ((20, 0x101, 0x301), (20, 0x101, 0x1), (20, 0x100, 0x301), (24, 0x101, 0x301)):
    ours.sendmsg([struct.pack("=IHHII", length, kind, flags, 7, 0) + bytes(length - 16)])
    print(hex(struct.unpack_from("=IH", theirs.recv(100))[1]))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile it as the role does."""
    made = tmp_path_factory.mktemp("shim") / "restore_shim.so"
    command = [
        "cc",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-Os",
        "-nostdlib",
        "-o",
        str(made),
        str(SOURCE),
    ]
    subprocess.run(command, check=True)
    return made


class Keeper:
    """Where CRIU asks."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(60)

    def asked(self) -> tuple[socket.socket, bytes]:
        """Return the next question, and where to answer it."""
        client, _ = self.listener.accept()
        client.settimeout(60)
        return client, client.recv(10)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """Return a keeper that listens."""
    made = Keeper(tmp_path / "verdict")
    yield made
    made.listener.close()


def restore(shim: Path, directory: Path, pid: int) -> subprocess.Popen[str]:
    """Start what makes CRIU's calls. A copy that is to be killed has this pid."""
    for name in ("core-1.img", "inventory.img"):
        (directory / name).touch()
    environment = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "RELOCATE_VERDICT": str(directory / "verdict"),
        "RELOCATE_PID": str(pid),
    }
    command = [sys.executable, "-c", RESTORE, str(directory)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def copy() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that stands for the init of the copy."""
    process = subprocess.Popen(["sleep", "100"])
    yield process
    process.kill()
    process.wait()


def test_it_waits_for_image_routes_and_verdict(
    shim: Path, tmp_path: Path, keeper: Keeper, copy: subprocess.Popen[bytes]
) -> None:
    """Once for the image, however often it is opened; and nobody is killed on a commit. That a task is let go is said."""
    criu = restore(shim, tmp_path, copy.pid)
    for expected, consent in ((b"i", b"o"), (b"s", b"o"), (b"p", b"c")):
        answer, question = keeper.asked()
        assert question == expected
        answer.send(consent)
    assert criu.communicate(timeout=120)[0] == "1\n2\n3\n4\n" and criu.returncode == 0
    assert keeper.asked()[1] == b"r"
    keeper.listener.setblocking(False)
    with pytest.raises(BlockingIOError):  # once
        keeper.asked()
    assert copy.poll() is None


def test_an_image_that_does_not_come(shim: Path, tmp_path: Path, keeper: Keeper, copy: subprocess.Popen[bytes]) -> None:
    """CRIU ends, and has made nothing: the pid is still the placeholder's, which the keeper ends."""
    criu = restore(shim, tmp_path, copy.pid)
    answer, _ = keeper.asked()
    answer.send(b"x")
    assert criu.communicate(timeout=120)[0] == "" and criu.returncode == 1
    assert copy.poll() is None


@pytest.mark.parametrize("verdict", [b"x", b""], ids=["cancelled", "the keeper is gone"])
@pytest.mark.parametrize("waits", [1, 2], ids=["before its sockets speak", "before it runs"])
def test_a_copy_that_must_not_run(
    shim: Path, tmp_path: Path, keeper: Keeper, copy: subprocess.Popen[bytes], waits: int, verdict: bytes
) -> None:
    """It is killed before CRIU lets it go."""
    criu = restore(shim, tmp_path, copy.pid)
    for _ in range(waits):
        answer, _ = keeper.asked()
        answer.send(b"o")
    answer, _ = keeper.asked()
    answer.send(verdict) if verdict else answer.close()
    assert criu.communicate(timeout=120)[0].split()[-1] == str(waits) and criu.returncode == 1
    assert copy.wait(10) == -9


@pytest.mark.kernel
@pytest.mark.parametrize("question", [b"s", b"p"])
def test_a_copy_whose_keeper_is_gone_dies_in_silence(
    shim: Path, tmp_path: Path, keeper: Keeper, network: Callable[[], Network], question: bytes
) -> None:
    """Its sockets are live: their peers would hear that they are closed, and the original would lose its connections.

    No other network is touched: not that of CRIU, which is the host's, either.
    """
    inside, ours = network(), Path("/proc/net/dev").read_text().count(":")
    inside.run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
    for name in ("left", "right"):
        inside.run("ip", "link", "set", name, "up")
    with Path(inside.path).open() as held:  # the namespace outlives the copy
        criu = restore(shim, tmp_path, inside.pid)
        while True:
            answer, asked = keeper.asked()
            if asked == question:
                break
            answer.send(b"o")
        answer.close()
        assert criu.wait(10) == 1
        up = subprocess.run(
            ["nsenter", f"--net=/proc/self/fd/{held.fileno()}", "ip", "-o", "link", "show", "up"],
            capture_output=True,
            text=True,
            check=True,
            pass_fds=(held.fileno(),),
        ).stdout
    assert "lo:" in up and "left" not in up and "right" not in up
    assert Path("/proc/net/dev").read_text().count(":") == ours


def test_without_a_keeper_nothing_waits(shim: Path, tmp_path: Path) -> None:
    """At the dump it is the same object."""
    for name in ("core-1.img", "inventory.img"):
        (tmp_path / name).touch()
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    command = [sys.executable, "-c", RESTORE, str(tmp_path)]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "1\n2\n3\n4\n"


def test_a_listing_of_connections_is_made_short(shim: Path) -> None:
    """That one request and no other."""
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    done = subprocess.run(
        [sys.executable, "-c", REQUESTS], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["0x106", "0x101", "0x100", "0x101"]


#: Asks which pages of its own it has, as CRIU does: before there is a list, and with one. Prints what it was told, in pages.
SCANS = """
import ctypes, errno, fcntl, json, mmap, os, struct, sys
PAGE = mmap.PAGESIZE
memory = mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
for page in (0, 1, 2, 3, 5, 7):
    memory[page * PAGE] = 1
pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
def scan(room=16):
    vector = (ctypes.c_uint64 * (3 * room))()
    wanted = 1 << 3 | 1 << 4  # present, swapped
    end = base + 8 * PAGE
    order = bytearray(struct.pack("=12Q", 96, 0, base, end, 0, ctypes.addressof(vector), room, 0, 0, 0, wanted, wanted))
    try:
        found = fcntl.ioctl(pagemap, 0xC0606610, order)
    except OSError as error:
        return errno.errorcode[error.errno]
    assert struct.unpack_from("=Q", order, 32)[0] == end, "all was looked at"
    return [((vector[3 * i] - base) // PAGE, (vector[3 * i + 1] - base) // PAGE) for i in range(found)]
def entries():
    data = os.pread(pagemap, 8 * 8, base // PAGE * 8)
    return [page for page, entry in enumerate(struct.unpack("=8Q", data)) if entry >> 62]
ask = {"scan": scan, "entries": entries, "no room": lambda: scan(3)}[sys.argv[1]]
answers = [ask()]
listed = [(os.getpid(), base + first * PAGE, base + last * PAGE) for first, last in ((1, 2), (3, 7))]
with open(sys.argv[2], "wb") as file:
    file.writelines(struct.pack("=3Q", *area) for area in [(1, 0, 1 << 63), *listed])
answers.append(ask())
with open(sys.argv[2], "rb") as file:
    noted = list(struct.iter_unpack("=3Q", file.read()[3 * 24:]))
assert {pid for pid, _, _ in noted} <= {os.getpid()}
answers.append([((first - base) // PAGE, (last - base) // PAGE) for _, first, last in noted])
print(json.dumps(answers))
"""


def scans(shim: Path, directory: Path, how: str) -> list[Any]:
    """Return what a process is told of its pages, before and with a list, and what was noted."""
    deferred = str(directory / f"deferred {how}")
    environment = {**os.environ, "LD_PRELOAD": str(shim), "RELOCATE_DEFERRED": deferred}
    command = [sys.executable, "-c", SCANS, how, deferred]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(
    tuple(map(int, os.uname().release.split(".")[:2])) < (6, 7),
    reason="this kernel has no PAGEMAP_SCAN: see the next test",
)
def test_deferred_pages_are_noted_and_not_shown(shim: Path, tmp_path: Path) -> None:
    """Pages 1 and 3 to 6 are deferred; 1, 3 and 5 are present. What is left may be more pieces than there were."""
    before, after, noted = scans(shim, tmp_path, "scan")
    assert before == [[0, 4], [5, 6], [7, 8]]
    assert after == [[0, 1], [2, 3], [7, 8]]
    assert noted == [[1, 2], [3, 4], [5, 6]]
    assert scans(shim, tmp_path, "no room")[1] == "E2BIG", "and nothing is forgotten"


def test_deferred_pages_are_not_shown_by_older_kernels_either(shim: Path, tmp_path: Path) -> None:
    """There CRIU reads the page map."""
    before, after, noted = scans(shim, tmp_path, "entries")
    assert (before, after) == ([0, 1, 2, 3, 5, 7], [0, 2, 7])
    assert noted == [[1, 2], [3, 4], [5, 6]]


def test_a_list_that_cannot_be_written_ends_the_dump(shim: Path, tmp_path: Path) -> None:
    """As an image that cannot be written does: a page that is in neither would be lost."""
    deferred = str(tmp_path / "deferred")
    code = SCANS.replace(
        "answers.append(ask())", "import resource; resource.setrlimit(1, (0, 0)); answers.append(ask())", 1
    )
    environment = {**os.environ, "LD_PRELOAD": str(shim), "RELOCATE_DEFERRED": deferred}
    done = subprocess.run(
        [sys.executable, "-c", code, "entries", deferred], env=environment, capture_output=True, text=True, timeout=120
    )
    assert "File too large" in done.stderr


#: Asks by syscall(2), as CRIU does, for the limits of a process of another user; prints the kernel's answer and the numbers.
LIMITS = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for resource in range(16):
    found = (ctypes.c_uint64 * 2)()
    status = libc.syscall(ctypes.c_long(302 if sys.argv[2] == "x86_64" else 261), ctypes.c_long(int(sys.argv[1])),
                          ctypes.c_long(resource), None, ctypes.byref(found))
    print(status, *found)
"""


def test_limits_of_another_users_process(shim: Path) -> None:
    """Without CAP_SYS_RESOURCE the kernel does not tell a debugger; what everybody may read does."""
    own = "ulimit -Sn 200; ulimit -Hn 300; ulimit -c 0; exec sleep 100"
    other = subprocess.Popen(["setpriv", "--reuid=1000", "--clear-groups", "sh", "-c", own])
    command = [sys.executable, "-c", LIMITS, str(other.pid), os.uname().machine]
    without = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource", *command]
    try:
        while Path(f"/proc/{other.pid}/comm").read_text(encoding="ascii") != "sleep\n":
            time.sleep(0.01)
        wanted = [f"0 {soft % 2**64} {hard % 2**64}" for soft, hard in map(partial(prlimit, other.pid), range(16))]
        assert "0 200 300" in wanted and "0 0 0" in wanted and f"0 {2**64 - 1} {2**64 - 1}" in wanted
        assert "-1 0 0" in subprocess.run(without, capture_output=True, text=True, check=True).stdout, "nothing to mend"
        environment = {**os.environ, "LD_PRELOAD": str(shim)}
        told = subprocess.run(without, env=environment, capture_output=True, text=True, check=True).stdout
        assert told.splitlines() == wanted
    finally:
        other.kill()
        other.wait()


def prlimit(pid: int, limit: int) -> tuple[int, int]:
    """Return a limit of a process by the way that is open to everybody."""
    line = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()[limit + 1]
    soft, hard = (-1 if word == "unlimited" else int(word) for word in line[25:].split()[:2])
    return soft, hard


#: Opens handles by syscall(2), as CRIU does, and prints what each is; the mount is not one that would open them.
HANDLES = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
mount = os.open("/proc", os.O_RDONLY)
for word in sys.argv[2:]:
    handle = bytes.fromhex(word)
    data = ctypes.create_string_buffer(struct.pack("=Ii", len(handle), 0xF8) + handle.ljust(128, b"\\0"))
    fd = libc.syscall(ctypes.c_long(304 if sys.argv[1] == "x86_64" else 265), mount, data, ctypes.c_long(os.O_PATH))
    print(os.readlink(f"/proc/self/fd/{fd}") if fd >= 0 else fd)
"""


def test_handles_are_opened_by_their_paths(shim: Path, tmp_path: Path) -> None:
    """Whatever the order, with blanks in a name; a handle that is not on the list stays as closed as the kernel has it."""
    (tmp_path / "root/a b").mkdir(parents=True)
    (tmp_path / "root/c").touch()
    listing = tmp_path / "watches"
    listing.write_text(f"{tmp_path}/root\n00fb1d /a b\n00fb1d01 /c\nff00 /missing\nabcdef /\n")
    command = [
        sys.executable,
        "-c",
        HANDLES,
        os.uname().machine,
        "00fb1d01",
        "abcdef",
        "00fb1d",
        "00fb",
        "ff00",
        "00fb1d",
    ]

    def answers(**environment: str) -> list[str]:
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    here = f"{tmp_path}/root"
    assert answers(LD_PRELOAD=str(shim), RELOCATE_WATCHES=str(listing)) == [
        f"{here}/c",
        here,
        f"{here}/a b",
        "-1",
        "-1",
        f"{here}/a b",
    ]
    assert answers(LD_PRELOAD=str(shim)) == ["-1"] * 6
    assert answers(LD_PRELOAD=str(shim), RELOCATE_WATCHES=str(tmp_path / "nothing")) == ["-1"] * 6


#: Holds a process as CRIU does, looks at its memory, and is killed in the middle of it, or lets it go and is killed then.
TRACER = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_int] + [ctypes.c_long] * 3
SEIZE, INTERRUPT, SETOPTIONS, PEEKDATA, DETACH, TRACESYSGOOD = 0x4206, 0x4207, 0x4200, 2, 17, 1
pid, detaches = int(sys.argv[1]), sys.argv[2] == "detaches"
assert libc.ptrace(SEIZE, pid, 0, 0) == 0
assert libc.ptrace(INTERRUPT, pid, 0, 0) == 0
os.waitpid(pid, 0x40000000)  # __WALL
assert libc.ptrace(SETOPTIONS, pid, 0, TRACESYSGOOD) == 0
begin = int(open(f"/proc/{pid}/maps").readline().partition("-")[0], 16)
assert libc.ptrace(PEEKDATA, pid, begin, 0) & 0xFFFFFFFF == 0x464C457F  # of an ELF file
assert libc.ptrace(PEEKDATA, pid, 0, 0) == -1 and ctypes.get_errno() == 5
if detaches:
    assert libc.ptrace(DETACH, pid, 0, 0) == 0
print("held", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("restores", "way", "dies"), [(True, "is killed", True), (True, "detaches", False), (False, "is killed", False)]
)
def test_a_copy_whose_criu_is_killed_while_it_holds_it(
    shim: Path, copy: subprocess.Popen[bytes], restores: bool, way: str, dies: bool
) -> None:
    """It would run before the verdict. At a dump it is the original, which must live."""
    environment = {**os.environ, "LD_PRELOAD": str(shim), **({"RELOCATE_VERDICT": "/x"} if restores else {})}
    command = [sys.executable, "-c", TRACER, str(copy.pid), way]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "held\n", done.stderr
    try:
        assert copy.wait(60 if dies else 0.5) == -9 and dies
    except subprocess.TimeoutExpired:
        assert not dies


#: Puts a connection into repair as CRIU does, opens the image of another kind and that of a connection, and says each time
#: whether it is in repair.
REPAIR = """
import os, socket, sys
TCP_REPAIR = 19
listener = socket.create_server(("127.0.0.1", 0))
end = socket.create_connection(listener.getsockname())
images = os.open(sys.argv[1], os.O_RDONLY)
end.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
for name in ("inetsk.img", "tcp-stream-1a.img"):
    os.close(os.open(name, os.O_RDONLY | os.O_CREAT, dir_fd=images))
    print(end.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR))
end.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)  # CRIU ends it a second time
"""


@pytest.mark.parametrize("restores", [True, False])
def test_a_connection_that_has_been_read_is_not_in_repair_any_more(shim: Path, tmp_path: Path, restores: bool) -> None:
    """A CRIU that is killed in the rest of its dump would leave it so, for tasks that run on. At a restore it is being made."""
    environment = {**os.environ, "LD_PRELOAD": str(shim), **({"RELOCATE_VERDICT": "/x"} if restores else {})}
    command = [sys.executable, "-c", REPAIR, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1" if restores else "0"] and not done.returncode, done.stderr


#: Interrupts a process in sleep(3), and one in nanosleep(2) that does not ask for the rest; prints what each call returns.
SLEEPS = """
import ctypes, os, signal, struct, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 2 + [ctypes.c_void_p] * 2
for sleep in (lambda: libc.sleep(100), lambda: libc.nanosleep(struct.pack("qq", 100, 0), None)):
    child = os.fork()
    if not child:
        sleep()
    while open(f"/proc/{child}/syscall").read().split()[0] not in ("35", "230"):
        time.sleep(0.01)
    assert libc.ptrace(0x4206, child, None, None) == 0 and libc.ptrace(0x4207, child, None, None) == 0
    os.waitpid(child, 0)
    room = ctypes.create_string_buffer(27 * 8)
    where = ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(room), len(room)))
    assert libc.ptrace(0x4204, child, 1, ctypes.addressof(where)) == 0
    print(struct.unpack_from("27q", room)[10])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="CRIU is told so on x86_64 only")
def test_a_sleep_goes_on(shim: Path) -> None:
    """One that has noted what is left is made again; one that has not returns early, as CRIU has it."""
    command = [sys.executable, "-c", SLEEPS]
    told = [
        subprocess.run(
            command, env={**os.environ, **with_it}, capture_output=True, text=True, check=True
        ).stdout.split()
        for with_it in ({"LD_PRELOAD": str(shim)}, {})
    ]
    assert told == [["-513", "-516"], ["-516", "-516"]]


#: Maps what CRIU maps, by mmap(2); prints whether it got it, and what the kernel says of it.
MAPS = """
import ctypes, re
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap64.restype = ctypes.c_void_p
libc.mmap64.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
RESERVED, ROOM, PRIVATE, FIXED = 8 << 40, 1 << 20, 0x22, 0x10
for size, protection, flags in ((RESERVED, 3, PRIVATE), (RESERVED, 2, PRIVATE), (ROOM, 3, PRIVATE), (RESERVED, 3, 0x21),
                                (RESERVED, 0, PRIVATE), (1 << 62, 3, PRIVATE)):
    at = libc.mmap64(None, size, 0, PRIVATE, -1, 0)  # neighbours would be one
    at = libc.mmap64(at, size, protection, flags | (FIXED if at != 2**64 - 1 else 0), -1, 0)
    entries = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read())
    found = [entry for entry in entries if entry.startswith(f"{at:x}-")]
    print("nr" in found[0].partition("VmFlags:")[2].split() if found else ctypes.get_errno())
"""


@pytest.mark.skipif(
    Path("/proc/sys/vm/overcommit_memory").read_text() != "0\n", reason="this kernel promises all or nothing"
)
def test_address_space_that_was_only_reserved_is_mapped_again(shim: Path) -> None:
    """More than there is memory; what fits is promised as ever, and what is larger than the address space is not to be had."""
    command = [sys.executable, "-c", MAPS]
    without = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert without == ["12", "12", "False", "12", "False", "12"], "nothing to mend"
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert done == ["True", "True", "False", "True", "False", "12"]


#: Binds sockets in a directory of a root of their own, as CRIU does, by names for which the list has addresses; prints what
#: each is bound to, and whether it hears who comes by the name.
BINDS = """
import os, socket, sys
images = os.open(sys.argv[1], os.O_RDONLY)
os.close(os.open("inventory.img", os.O_RDONLY, dir_fd=images))
os.chroot(sys.argv[2])
os.chdir("/run")
for number in range(int(sys.argv[3])):
    name = f".relocate-socket-{number}"
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    try:
        sock.bind(name)
    except OSError as error:
        print(error.strerror)
        continue
    sock.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(name)
    sock.accept()[0].send(b"x")
    print(sock.getsockname(), client.recv(1).decode())
print(sorted(os.listdir("/")), sorted(os.listdir()), os.getcwd())
"""


def test_a_socket_is_bound_to_one_address_and_has_its_file_elsewhere(
    shim: Path, tmp_path: Path, keeper: Keeper, copy: subprocess.Popen[bytes]
) -> None:
    """Whatever lies at the address, and whether its directories are there."""
    (tmp_path / "root/run").mkdir(parents=True)
    (tmp_path / "root/run/taken").touch()
    addresses = [b"/run/taken", b"/none/at/all", b"../x/./y", b"/" + b"z" * 107, b"taken", b""]
    records = b"".join(len(each).to_bytes(4, "little") + each.ljust(108, b"\0") for each in addresses)
    (tmp_path / "relocate-addresses").write_bytes(records)
    (tmp_path / "inventory.img").touch()
    command = [sys.executable, "-c", BINDS, str(tmp_path), str(tmp_path / "root"), str(len(addresses) + 1)]
    told = {"LD_PRELOAD": str(shim), "RELOCATE_VERDICT": str(tmp_path / "verdict"), "RELOCATE_PID": str(copy.pid)}
    process = subprocess.Popen(command, env={**os.environ, **told}, stdout=subprocess.PIPE, text=True)
    answer, question = keeper.asked()
    assert question == b"i"
    answer.send(b"o")
    said, _ = process.communicate(timeout=120)
    *lines, after = said.splitlines()
    assert lines == [*(f"{os.fsdecode(each)} x" for each in addresses[:-1]), *["Invalid argument"] * 2]
    made = sorted(["taken", *(f".relocate-socket-{number}" for number in range(len(addresses) - 1))])
    assert after == f"['run'] {made} /run", "nothing else is left"


#: Asks where the file of a bound socket is, as CRIU does at the dump.
LOOKS = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
for address in sys.argv[1:]:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(address)
    if "renamed" in address:
        os.rename(address, "other")
    if "gone" in address:
        os.rename(address, "another")
        os.unlink("another")
    file = libc.ioctl(sock.fileno(), ctypes.c_ulong(0x89E0))
    found = ctypes.create_string_buffer(4096)
    path = f"/proc/self/fd/{file}".encode()
    answers = []
    for _ in range(2):
        size = libc.readlink(path, found, ctypes.c_size_t(4096))
        answers.append(found.raw[:size].decode())
    print(*answers, sep="|")
"""


def test_a_relative_address_ends_where_its_file_is_said_to_be(shim: Path, tmp_path: Path) -> None:
    """CRIU gives up otherwise. Only what it asks of that very file is answered so, and only once."""
    names = ["plain", "./dot", "renamed", "gone", f"../{tmp_path.name}/above", str(tmp_path / "renamed2")]
    command = [sys.executable, "-c", LOOKS, *names]
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    here = str(tmp_path)
    assert done.stdout.splitlines() == [
        f"{here}/plain|{here}/plain",
        f"{here}/dot|{here}/dot",
        f"/renamed|{here}/other",
        f"/gone (deleted)|{here}/another (deleted)",
        f"/../{tmp_path.name}/above|{here}/above",
        f"{here}/other|{here}/other",
    ]


#: Makes the calls by which CRIU makes connections anew: its first process, and the first of the container.
CONNECTS = """
import ctypes, json, os, socket, struct, sys
libc = ctypes.PyDLL(None, use_errno=True)
images = os.open(sys.argv[1], os.O_RDONLY)
os.close(os.open("inventory.img", os.O_RDONLY, dir_fd=images))
done, writing = os.pipe()
waiting, going = os.pipe()
number = ctypes.c_int(1)
arguments = struct.pack("=11Q", 0x20000000, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(number), 1, 0)
first = libc.syscall(ctypes.c_long(435), ctypes.create_string_buffer(arguments, 88), ctypes.c_long(88))

def named(sock):
    groups = memoryview(sock.getsockopt(1, 59, 400)).cast("I")
    return [*struct.unpack("3i", sock.getsockopt(1, 17, 12)), *groups, repr(sock.getsockname())]

def kind(place):
    return 1 << 30 | place << 4 | 1

def pair(type):
    ends = (ctypes.c_int * 2)()
    if libc.socketpair(1, type, 0, ends):
        return os.strerror(ctypes.get_errno())
    found = [socket.socket(fileno=each) for each in ends]
    found[0].send(b"x")
    assert found[1].recv(1) == b"x"
    return [*map(named, found), *map(os.get_inheritable, ends)]

if not first:
    os.chroot(sys.argv[2])
    os.chdir("/run")
    groups = os.getgroups()
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind("\\0/crtools-fd-1-x")
    for place in (0, 2, 3, 4, 7, 9):
        print(json.dumps(pair(kind(place))), flush=True)
    print(json.dumps(pair(1)), flush=True)
    listens = socket.socket(fileno=libc.socket(1, kind(6), 0))
    listens.bind("/run/listens")
    assert not libc.listen(listens.fileno(), 5)
    client = socket.socket(fileno=libc.socket(1, kind(10), 0))
    address = b"\\1\\0/run/listens"
    assert not libc.connect(client.fileno(), address, len(address))
    print(json.dumps([named(listens), named(client), named(listens.accept()[0])]))
    print(json.dumps([os.listdir("/dev"), os.getcwd(), os.getresuid(), os.getresgid(), os.getgroups() == groups]))
    sys.stdout.flush()
    os.write(writing, b"x")
    os.read(waiting, 1)
    os._exit(0)
os.read(done, 1)

def holders():
    found = 0
    for each in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += "\\t300\\n" in open(f"/proc/{each}/status").read().partition("NSpid:")[2].partition("NSpgid")[0]
        except OSError:
            pass
    return found

before = holders()
criu, runc = socket.socketpair()
runc.send(b"agreed")
criu.send(bytes([8, 6, 16, 1, 42, 14, 10, 12]) + b"post-restore")
assert criu.recv(100) == b"agreed"
after = holders()
os.write(going, b"x")
assert os.waitpid(first, 0) == (first, 0)
print(before, after)
"""
#: What each place is to name: process, user, group, groups; the other end; how; its address.
PLACES = [
    ((7, 1000, 1001, [5, 6]), 1, 3, b""),
    ((7, 1000, 1001, [5, 6]), 0, 3, b""),
    ((8, 1000, 1001, []), 3, 3, b"/run/some/where"),
    ((1, 33, 34, [35]), 2, 3, b""),
    ((9, 1000, 1001, [1]), 5, 3, b"\0nowhere"),
    ((8, 33, 34, [35]), 4, 3, b""),
    ((7, 7, 8, [9]), -1, 1, b"/run/listens"),
    ((1, 1000, 1001, [5]), 8, 3, b""),
    ((1, 1000, 1001, [5]), 7, 3, b""),
    ((70, 1000, 1001, [5]), -1, 3, b""),
    ((1, 1000, 4, [3, 4]), -1, 2, b""),
]


@pytest.mark.kernel
def test_connections_are_made_by_whom_they_name(
    shim: Path, tmp_path: Path, keeper: Keeper, copy: subprocess.Popen[bytes]
) -> None:
    """By processes that have long ended, too; with their addresses; and what is not known names nobody."""
    for directory in ("dev", "run"):
        (tmp_path / "root" / directory).mkdir(parents=True)
    records = [
        peer_images._record({"number": pid, "uid": uid, "gid": gid, "groups": groups}, partner, how, 1, address)
        for (pid, uid, gid, groups), partner, how, address in PLACES
    ]
    (tmp_path / "relocate-peers").write_bytes(peer_images.HEAD.pack(len(records), 300) + b"".join(records))
    (tmp_path / "inventory.img").touch()
    command = [sys.executable, "-c", CONNECTS, str(tmp_path), str(tmp_path / "root")]
    told = {"LD_PRELOAD": str(shim), "RELOCATE_VERDICT": str(tmp_path / "verdict"), "RELOCATE_PID": ""}
    process = subprocess.Popen(command, env={**os.environ, **told}, stdout=subprocess.PIPE, text=True)
    for _ in "is":
        answer, _ = keeper.asked()
        answer.send(b"o")
    *pairs, unknown, waiting, after, children = process.communicate(timeout=30)[0].splitlines()
    nameless = "''"
    dead = [7, 1000, 1001, 5, 6, nameless]
    server, client = [8, 1000, 1001, "'/run/some/where'"], [1, 33, 34, 35, nameless]
    own = [1, 1000, 1001, 5, nameless]
    gone = [70, 1000, 1001, 5, nameless]
    assert [json.loads(each) for each in pairs] == [
        [dead, dead, True, True],
        [server, client, True, True],
        [client, server, True, True],
        [[9, 1000, 1001, 1, repr(b"\0nowhere")], [8, 33, 34, 35, nameless], True, True],
        [own, own, True, True],
        [gone, gone, True, True],
    ]
    assert json.loads(unknown) == [[1, 65534, 65534, nameless]] * 2 + [True, True]
    listens = [7, 7, 8, 9]
    assert json.loads(waiting) == [
        [*listens, "'/run/listens'"],
        [*listens, nameless],
        [1, 1000, 4, 3, 4, "'/run/listens'"],
    ]
    assert json.loads(after) == [[], "/run", [0, 0, 0], [0, 0, 0], True]
    assert children == "1 0", "the holder has been there, and is gone"
