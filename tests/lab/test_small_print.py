# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small print of docs/tenants.md: what hardly a program uses, what begins anew, and what that page says is not kept.

Should a row of "not kept" be kept one day, its test fails, and the page has to say so.
"""

from __future__ import annotations

import json

import pytest
import python_image
from fleet import Fleet
from test_tenants import said
from waiting import until

pytestmark = pytest.mark.lab

PROGRAM = """
import ctypes, fcntl, json, mmap, os, platform, socket, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))

# glibc registers it; the kernel writes the processor of a thread where it was told to
def processor():
    if platform.machine() != "x86_64":
        return None
    place = ctypes.c_ulong()
    libc.syscall(158, 0x1003, ctypes.byref(place))  # arch_prctl, ARCH_GET_FS
    place.value += ctypes.c_long.in_dll(libc, "__rseq_offset").value
    return ctypes.c_uint.from_address(place.value + 4).value

def processors():
    found = []
    for number in (1, 0):
        os.sched_setaffinity(0, {number})
        found.append(processor())
    os.sched_setaffinity(0, {0, 1})
    return found

libc.mlockall(3)  # MCL_CURRENT, MCL_FUTURE

def locks_what_is_mapped():
    before = status("VmLck")
    with mmap.mmap(-1, 1 << 22):
        return status("VmLck") > before

INTERLEAVE = 3
libc.syscall(238 if platform.machine() == "x86_64" else 237, INTERLEAVE, ctypes.byref(ctypes.c_ulong(1)), 64)

def memory_policy():
    mode = ctypes.c_int()
    libc.syscall(239 if platform.machine() == "x86_64" else 236, ctypes.byref(mode), None, 0, None, 0)
    return mode.value

GETFLAGS, SETFLAGS, NODUMP = 0x80086601, 0x40086602, 0x40
flagged = open("/flagged", "w")
fcntl.ioctl(flagged, SETFLAGS, struct.pack("l", NODUMP))

def flags():
    with open("/flagged") as file:
        return struct.unpack("l", fcntl.ioctl(file, GETFLAGS, bytes(8)))[0] & NODUMP

open("/read", "w").close()
os.utime("/read", (1_000_000_000, 1_100_000_000))
listening = socket.socket()
listening.setsockopt(socket.IPPROTO_TCP, 10, 5000)  # TCP_WINDOW_CLAMP
listening.bind(("127.0.0.1", 5000))
listening.listen()
early = []

def sleeps():
    # a caller who does not ask what is left of the time
    class Span(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]
    while True:
        begin = time.monotonic()
        libc.nanosleep(ctypes.byref(Span(1000, 0)), None)
        if time.monotonic() - begin < 999:
            early.append(time.monotonic() - begin)

threading.Thread(target=sleeps, daemon=True).start()
if not os.path.exists("/second"):
    open("/second", "w").close()
    raise SystemExit(3)  # Docker starts it once more, and counts that

while True:
    print(json.dumps({
        "kept": {"processors": processors(), "locked": status("VmLck") > 0,
                 "keepalive": open("/proc/sys/net/ipv4/tcp_keepalive_time").read().strip()},
        "not kept": {"future": locks_what_is_mapped(), "policy": memory_policy(), "flags": flags(),
                     "read": os.stat("/read").st_atime, "written": os.stat("/read").st_mtime,
                     "clamp": listening.getsockopt(socket.IPPROTO_TCP, 10)},
        "early": len(early),
    }), flush=True)
    time.sleep(0.1)
"""
OPTIONS = "--cap-add SYS_NICE --cap-add IPC_LOCK --restart on-failure --health-cmd true --health-interval 10s"
#: All settings of a container's network, as somebody inside sees them who may set them.
SETTINGS = """
import json, os
found = {}
for directory, _, names in os.walk("/proc/sys/net"):
    for path in (f"{directory}/{name}" for name in names):
        try:
            if os.stat(path).st_mode & 0o200 and not path.endswith("/mtu"):
                found[path] = open(path).read()
        except OSError:
            pass
print(json.dumps(found))
"""


def settings(fleet: Fleet, host: str, name: str) -> dict[str, str]:
    """Return the settings of a container's network."""
    found: dict[str, str] = json.loads(fleet.on(host, f"docker exec -i {name} python3 -", data=SETTINGS))
    return found


def tune(fleet: Fleet, host: str, name: str, setting: str, value: str) -> None:
    """Set something of a container's network from its host, as root there may."""
    pid = f"$(docker inspect -f '{{{{.State.Pid}}}}' {name})"
    fleet.on(host, f"nsenter -t {pid} -n sh -c \"echo '{value}' > /proc/sys/net/{setting}\"")


def health(fleet: Fleet, host: str) -> tuple[list[str], int]:
    """Return when the container's health was looked at, and how often Docker has started it again."""
    inspected = json.loads(fleet.on(host, "docker inspect small"))[0]
    return [each["Start"] for each in inspected["State"]["Health"]["Log"] or []], inspected["RestartCount"]


def test_what_is_kept_and_what_is_not(fleet: Fleet) -> None:
    """Three hops, each way between versions of Docker."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "small", PROGRAM, OPTIONS)
    said(fleet, "host1", "small")
    for setting, value in (
        ("ipv4/tcp_keepalive_time", "77"),
        ("ipv4/conf/all/rp_filter", "2"),
        ("ipv4/conf/eth0/accept_redirects", "0"),
        ("core/somaxconn", "777"),
    ):
        tune(fleet, "host1", "small", setting, value)
    first, lines = said(fleet, "host1", "small", 3)
    had = settings(fleet, "host1", "small")
    assert first["kept"] == {"processors": [1, 0], "locked": True, "keepalive": "77"}
    lost = {"future": True, "policy": 3, "flags": 0x40, "read": 1e9, "written": 1.1e9, "clamp": 5000}
    assert first["not kept"] == lost and not first["early"]
    assert health(fleet, "host1")[1] == 1
    until(lambda: health(fleet, "host1")[0], "a first health check")
    for hop, host in enumerate(("host3", "host2", "host1"), 1):
        began = fleet.on(host, "date -u +%FT%T").strip()
        until(
            lambda at=host: fleet.move("small", at, check=False),
            "a move between two health checks",
            lambda result: result["outcome"] == "committed" or "a health check runs" not in result["msg"],
        )
        assert fleet.where("small") == [host], "nothing but a health check may keep it"
        now, lines = said(fleet, host, "small", lines + 2)
        assert now["kept"] == first["kept"] and settings(fleet, host, "small") == had
        assert now["not kept"] == {
            "future": False,
            "policy": 0,
            "flags": 0,
            "read": 1.1e9,
            "written": 1.1e9,
            "clamp": 0,
        }
        until(
            lambda at=host: said(fleet, at, "small")[0]["early"],
            "a sleep that was cut short by the move",
            lambda early, hop=hop: early == hop,
        )
        checks, restarts = health(fleet, host)
        assert restarts == 0 and min(checks, default="9") >= began


#: A client of a unix socket that waits to be accepted; alone it is carried.
WAITS = """
listening = socket.socket(socket.AF_UNIX)
listening.bind("/asked")
listening.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("/asked")
"""
#: Programs with something on its way that CRIU's image has no place for, or that somebody has to go on with.
ON_THE_WAY = {
    "credentials": """
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
right.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
left.send(b"x")
""",
    "sent": f"{WAITS}client.send(b'x')",
    "gone": f"{WAITS}client.close()",
}


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_what_is_on_its_way_keeps_the_container(fleet: Fleet, name: str) -> None:
    """It runs on where it was, and is told why."""
    python_image.make(fleet)
    program = f"import socket, time\n{ON_THE_WAY[name]}\nwhile True:\n    print('1', flush=True)\n    time.sleep(0.1)"
    python_image.run(fleet, "host1", name, program)
    _, lines = said(fleet, "host1", name)
    result = fleet.move(name, "host3", check=False)
    assert result["outcome"] == "rolled-back", result
    said(fleet, "host1", name, lines + 3)
    assert fleet.where(name) == ["host1"]
