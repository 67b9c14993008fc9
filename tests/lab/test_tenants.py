# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers as people run them: one program has many things at once, and says after each hop what of them it still has."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import python_image
from fleet import REPOSITORY, Fleet
from test_modules import module
from waiting import until

pytestmark = pytest.mark.lab

#: Prints, again and again, a JSON document of what it has; the parts that do not change must be the same after a hop.
PROGRAM = """
import ctypes, fcntl, json, os, resource, struct, threading, time

def held(path, lock):
    # of a file that another process opens
    child = os.fork()
    if not child:
        try:
            lock(open(path, "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1

os.chdir("/tmp")
locks = [open(name, "w") for name in ("flock", "posix", "ofd", "child")]
fcntl.flock(locks[0], fcntl.LOCK_EX)
fcntl.lockf(locks[1], fcntl.LOCK_EX, 10, 5)
fcntl.fcntl(locks[2], 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
if not os.fork():
    fcntl.flock(locks[3], fcntl.LOCK_EX)
    os._exit(0)
os.wait()
hosts = open("/etc/hosts")
os.sched_setaffinity(0, {1})
libc = ctypes.CDLL(None)
libc.prctl(29, 70000)  # PR_SET_TIMERSLACK
IOPRIO_GET, IOPRIO_SET = (252, 251) if os.uname().machine == "x86_64" else (31, 30)
libc.syscall(IOPRIO_SET, 1, 0, (2 << 13) | 6)
open("/proc/self/coredump_filter", "w").write("0x23")

queue = libc.inotify_init1(0o4000)  # IN_NONBLOCK
for name in ("watched/below", "/dev/shm/watched"):
    os.makedirs(name)
open("watched/file", "w").close()
watched = {libc.inotify_add_watch(queue, name.encode(), 8): name  # IN_CLOSE_WRITE
           for name in ("watched", "watched/below", "watched/file", "/dev/shm/watched", "/usr/lib", "/etc/hosts")}

def seen():
    for name in ("watched/file", "watched/below/a b", "/dev/shm/watched/x"):
        open(name, "w").close()
    events, data = [], os.read(queue, 65536)
    while data:
        watch, _, _, length = struct.unpack_from("iIII", data)
        events.append([watched[watch], data[16:16 + length].rstrip(b"\\0").decode()])
        data = data[16 + length:]
    return events

def renamed(old, new):
    # a file that is held by a name which is gone, and has another; as Maildir and sem_open(3) do it
    file = open(old, "w")
    os.link(old, new)
    os.unlink(old)
    return file

twice = {new: renamed(old, new) for old, new in (("t", "u"), ("/dev/shm/t", "/dev/shm/u"))}
libc.sem_open.restype = ctypes.c_void_p
semaphore = ctypes.c_void_p(libc.sem_open(b"/many", os.O_CREAT, 0o600, 1))

with open("/scratch/kept", "w") as file:
    file.write("kept")

def kept(name, file):
    file.write("x")
    file.flush()
    return os.path.samestat(os.stat(name), os.fstat(file.fileno())), os.fstat(file.fileno()).st_nlink

def bound():
    os.sched_setaffinity(0, {0})
    time.sleep(1e6)

threading.Thread(target=bound, daemon=True).start()
early = []

def sleeps():
    # sleep(3) returns what is left when it is interrupted
    while True:
        begin = time.time()
        if libc.sleep(2) or time.time() - begin < 1.9:
            early.append(time.time() - begin)

threading.Thread(target=sleeps, daemon=True).start()

while True:
    hosts.seek(0)
    print(json.dumps({
        "user": [os.getuid(), os.getgid(), os.getgroups()],
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "limits": open("/proc/self/limits").read().splitlines()[1:],
        "init": open("/proc/1/comm").read().strip(),
        "locks": [held("flock", fcntl.flock), held("posix", fcntl.lockf), held("ofd", fcntl.lockf),
                  held("child", fcntl.flock), held("posix", fcntl.flock), held("flock", fcntl.lockf)],
        "hosts": ["db" in hosts.read().split(), "db" in open("/etc/hosts").read().split()],
        "affinity": sorted(sorted(os.sched_getaffinity(int(tid))) for tid in os.listdir("/proc/self/task")),
        "task": [libc.syscall(IOPRIO_GET, 1, 0), libc.prctl(30), open("/proc/self/coredump_filter").read(),
                 open("/proc/self/oom_score_adj").read(), os.nice(0)],
        "seen": seen(),
        "early": early,
        "twice": [kept(*each) for each in twice.items()],
        "scratch": [open("/scratch/kept").read(), os.statvfs("/scratch").f_blocks * os.statvfs("/scratch").f_frsize,
                    oct(os.stat("/scratch").st_mode)],
        "left over": [name for place in (".", "/dev/shm") for name in os.listdir(place) if "link_remap" in name],
        "semaphore": libc.sem_post(semaphore),
        "address": [line.split()[0] for line in open("/etc/hosts") if os.uname().nodename in line.split()],
    }), flush=True)
    time.sleep(0.1)
"""
OPTIONS = (
    "--user 1000:1001 --group-add 7 --init --ulimit nofile=200:300 --ulimit core=0 --add-host a.test:192.0.2.1 "
    "--restart on-failure --mount type=tmpfs,dst=/scratch,tmpfs-size=1m,tmpfs-mode=1777"
)


def said(fleet: Fleet, host: str, name: str, later_than: int = 0) -> tuple[dict[str, Any], int]:
    """Return what the program has said last, after some number of lines; and how many lines there are."""
    lines = until(
        lambda: fleet.on(host, f"docker logs {name} 2>&1").splitlines(),
        f"a line of {name} on {host}",
        lambda found: len(found) > later_than,
    )
    return json.loads(lines[-1]), len(lines)


def test_many_things_at_once(fleet: Fleet) -> None:
    """Another user, --init of another version of Docker, locks, watches, lines of its own in /etc/hosts, limits."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "many", PROGRAM, OPTIONS)
    fleet.on("host1", "docker exec -u 0 many python3 -c \"open('/etc/hosts', 'a').write('10.0.0.9 db\\n')\"")
    first, lines = until(
        lambda: said(fleet, "host1", "many", 3),
        "the added line of /etc/hosts",
        lambda found: found[0]["hosts"] == [True] * 2,
    )
    assert first["user"][:2] == [1000, 1001] and 7 in first["user"][2]
    assert first["files"] == [200, 300] and first["init"] == "docker-init"
    assert first["locks"] == [True, True, True, True, False, False] and first["hosts"] == [True, True]
    assert first["affinity"] == [[0], [1], [1]] and first["task"] == [(2 << 13) | 6, 70000, "00000023\n", "0\n", 0]
    assert [each for each in first["seen"] if each[0] not in ("watched", "/etc/hosts")] == [
        ["watched/file", ""],
        ["watched/below", "a b"],
        ["/dev/shm/watched", "x"],
    ]
    assert first["twice"] == [[True, 1]] * 2 and first["semaphore"] == 0 and not first["left over"]
    assert first["scratch"] == ["kept", 1 << 20, "0o41777"]
    changing = {"address"}
    for host in ("host3", "host2", "host1"):
        fleet.move("many", host)
        address = json.loads(fleet.on(host, "docker inspect many"))[0]["NetworkSettings"]["Networks"]["bridge"]
        now, lines = said(fleet, host, "many", lines + 2)
        assert {key: now[key] for key in now.keys() - changing} == {key: first[key] for key in first.keys() - changing}
        assert now["address"] == [address["IPAddress"]], "Docker's own line is renewed"


def limits(fleet: Fleet, host: str, name: str) -> list[str]:
    """Return the limits of a container's control groups, of version 1 or 2."""
    files = "pids.max memory.limit_in_bytes memory.memsw.limit_in_bytes memory.max cpu.cfs_quota_us cpu.max"
    find = f"find /sys/fs/cgroup -path \"*$(docker inspect -f '{{{{.Id}}}}' {name})*\" -name"
    return [fleet.on(host, f"{find} {file} -exec cat {{}} +") for file in files.split()]


def test_limits_that_leave_no_room_for_criu(fleet: Fleet) -> None:
    """A second process, CRIU's memory, CRIU's share of a processor: lifted for the move, and set afterwards."""
    python_image.make(fleet)
    program = """
import os, time
memory = bytearray(b"x") * (6 << 20)
while True:
    if not os.fork():  # the second of two processes
        os._exit(0)
    os.wait()
    time.sleep(0.05)
"""
    python_image.run(fleet, "host1", "tight", program, "--pids-limit 2 -m 16m --memory-swap 16m --cpus 0.1")
    before = limits(fleet, "host1", "tight")
    assert before[0] == "2"
    for host in ("host3", "host2"):
        fleet.move("tight", host)
        assert limits(fleet, host, "tight") == before
        time.sleep(1)
        assert fleet.where("tight") == [host], "it could start its second process all the time"


CROWD = 200
#: Each of these processes counts by itself, without starting another. They are small: each has an image of its own.
COUNTERS = f"""
/bin/busybox mkfifo /never
exec 3<>/never
number=1
while [ $number -le {CROWD} ]; do
    (count=0; while :; do count=$((count + 1)); echo $number $count; read -t 3 nothing <&3; done) &
    number=$((number + 1))
done
wait
"""


def counts(fleet: Fleet, host: str, name: str) -> dict[int, int]:
    """Return how far each process has counted, by its number. None has left a number out, or begun anew."""
    found: dict[int, list[int]] = {}
    for line in fleet.on(host, f"docker logs {name}").splitlines():
        number, count = map(int, line.split())
        found.setdefault(number, []).append(count)
    for number, seen in found.items():
        assert seen == list(range(1, len(seen) + 1)), f"the process {number} has counted {seen}"
    return {number: len(seen) for number, seen in found.items()}


def test_more_processes_than_a_process_may_open_images(fleet: Fleet) -> None:
    """CRIU writes about seven files for each, and 1,024 is what a process may have open where nobody has said otherwise."""
    fleet.tenants.append("crowd")
    start = f'program=$(cat); docker run -d --name crowd {REPOSITORY}/idle:1 /bin/busybox sh -c "$program"'
    fleet.on("host1", start, data=COUNTERS)
    tasks = "find /sys/fs/cgroup -path \"*$(docker inspect -f '{{.Id}}' crowd)*\" -name cgroup.procs -exec cat {} + | sort -u"

    def goes_on(host: str, after: int) -> int:
        """Return how far the slowest has counted, when all have counted on."""
        found = until(
            lambda: counts(fleet, host, "crowd"),
            f"{CROWD} counters on {host} beyond {after}",
            lambda seen: len(seen) == CROWD and min(seen.values()) > after,
        )
        return min(found.values())

    furthest = goes_on("host1", 1)
    for host, mode in (("host3", "stop-and-copy"), ("host2", "post-copy"), ("host1", "stop-and-copy")):
        furthest = max(furthest, max(counts(fleet, fleet.where("crowd")[0], "crowd").values()))
        assert fleet.move("crowd", host, "--mode", mode)["mode"] == mode
        furthest = goes_on(host, furthest)
        assert len(fleet.on(host, tasks).splitlines()) == CROWD + 1


#: Programs that use what cannot be carried, and what is said of each. ``libc`` is there; afterwards they wait.
REFUSED = {
    "uring": ("libc.syscall(425, 4, ctypes.create_string_buffer(120))", "uses io_uring: end it"),
    "perf": (
        "attributes = struct.pack('IIQ', 1, 128, 0).ljust(128, b'\\0'); libc.syscall(298, attributes, 0, -1, -1, 0)",
        "uses performance counters (perf_event_open)",
    ),
    "fanotify": ("libc.fanotify_init(0x200, 0)", "uses fanotify: end it"),
    "userfault": ("libc.syscall(323, 1)", "uses userfaultfd: end it"),
    "lease": (
        "f = open('/tmp/l', 'w'); f.close(); f = open('/tmp/l'); fcntl.fcntl(f, 1024, 0)",
        "holds a lease on a file",
    ),
    "traced": ("os.fork() or (libc.ptrace(0, 0, 0, 0), time.sleep(1e6))", "is being traced"),
    "namespace": (
        "os.fork() or (libc.unshare(0x4000000), time.sleep(1e6))",
        "is in a host name namespace that was made inside the container",
    ),
    "ghost": (
        "f = open('/big', 'wb'); os.unlink('/big'); f.write(b'x' * (70 << 20)); f.flush()",
        "holds a deleted file of 70 MiB open, and 64 MiB can be carried",
    ),
    "mptcp": ("s = socket.socket(2, 1, 262); s.bind(('', 5000)); s.listen()", "has a socket of MPTCP"),
    "vsock": ("s = socket.socket(40, 1)", "has a socket of the family vsock"),
    "md5": (
        "s = socket.socket(); s.bind(('', 5001)); s.listen(); s.setsockopt(6, 14, struct.pack('=HH4s', 2, 0, "
        "bytes([127, 0, 0, 1])).ljust(128, b'\\0') + struct.pack('=BBHiI80s', 0, 0, 3, 0, 0, b'key'))",
        "has keys for signed TCP segments (TCP_MD5SIG)",
    ),
    "mqueue": ("libc.mq_open(b'/q', 0o102, 0o600, None)", "it has POSIX message queues (q)"),
    "group": (
        "s = socket.socket(2, 2); s.setsockopt(0, 35, socket.inet_aton('239.1.1.1') + bytes(4))",
        "it is a member of multicast groups (239.1.1.1)",
    ),
    "vfork": (
        "os.mkfifo('/f'); print('ready'); "
        "os.posix_spawn('/x', ['x'], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 5, '/f', 0, 0)])",
        "waits for a child that has not begun its program (vfork, posix_spawn)",
    ),
    "leader": (
        "os.fork() or (threading.Thread(target=time.sleep, args=(1e6,)).start(), libc.syscall(60, 0))",
        "goes on in threads whose first has ended",
    ),
    "address": (
        "s = socket.socket(2, 2); fcntl.ioctl(s, 0x8916, struct.pack('16sHH4s8x', b'lo:1', 2, 0, bytes([10, 9, 9, 9])))",
        "it has a network configuration of its own (10.0.0.0, 10.9.9.9)",
    ),
}
#: A host's rule in a container's network, as service meshes set it; the container may not set one itself.
FILTER = "nft add table ip mine; nft add chain ip mine x; nft add rule ip mine x drop"
UNUSUAL = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --cap-add SYS_ADMIN --cap-add NET_ADMIN"


def test_what_cannot_be_carried_is_refused_before_anything_is_frozen(fleet: Fleet) -> None:
    """One container for each thing; the plan tells of it."""
    python_image.make(fleet)
    first = "import ctypes, fcntl, os, socket, struct, threading, time; libc = ctypes.CDLL(None, use_errno=True)"
    for name, (program, _) in REFUSED.items():
        python_image.run(fleet, "host1", name, f"{first}; {program}; print('ready'); time.sleep(1e6)", UNUSUAL)
    fleet.tenants += ["fed", "filtered", "named"]
    fleet.on("host1", f"docker run -d -i --name fed {python_image.IMAGE} python3 -c 'input()'")
    fleet.on("host1", f"docker run -d --name filtered {REPOSITORY}/idle:1 /bin/busybox sleep 1000")
    fleet.on("host1", f"nsenter -t $(docker inspect -f '{{{{.State.Pid}}}}' filtered) -n sh -c '{FILTER}'")
    fleet.on(
        "host1",
        f"docker network create own; docker run -d --net own --name named {REPOSITORY}/idle:1 /bin/busybox sleep 1000",
    )
    for name in REFUSED:
        fleet.await_on("host1", f"docker logs {name} | grep -q ready", name)

    def told() -> dict[str, str]:
        info = module(fleet, "host1", "relocation_info", register_fact=False)["relocation_info"]
        return {container["name"]: " / ".join(container["refusals"]) for container in info["containers"]}

    # some are only about to do it when they say that they are ready
    refusals = until(
        told, "each reason", lambda all_of: all(says in all_of[name] for name, (_, says) in REFUSED.items())
    )
    assert "reads a standard input (docker run -i)" in refusals["fed"]
    assert "a packet filter with rules in the table mine" in refusals["filtered"]
    assert not refusals["named"], "what Docker's name service needs is no rule of the container's"
    done = fleet.run("relocate", "move", "group", "--to", "host2", "--check", check=False)
    assert done.returncode == 1 and REFUSED["group"][1] in done.stdout + done.stderr


#: Says of its memory what CRIU would forget, and which of it this kernel knows.
FORGOTTEN = """
import ctypes, json, os, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
def area():
    return ctypes.c_void_p(libc.mmap(None, 1 << 16, 3, 0x22, -1, 0))
size, known = ctypes.c_size_t(1 << 16), []
if libc.syscall(325 if os.uname().machine == "x86_64" else 284, area(), size, 1) == 0:
    known.append("locked as it is used (MLOCK_ONFAULT)")
if libc.syscall(462, area(), size, 0) == 0:
    known.append("sealed memory (mseal)")
key = libc.syscall(330 if os.uname().machine == "x86_64" else 289, 0, 0)
if key > 0 and libc.syscall(329 if os.uname().machine == "x86_64" else 288, area(), size, 1, key) == 0:
    known.append("protection key (pkey_mprotect)")
while True:
    print(json.dumps({"known": known}), flush=True)
    time.sleep(0.1)
"""


def test_what_criu_would_forget_of_memory_is_noticed_before_the_freeze(fleet: Fleet) -> None:
    """Such a copy would run on, and be less safe than its original."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "forgotten", FORGOTTEN, "--security-opt seccomp=unconfined")
    first, lines = said(fleet, "host1", "forgotten")
    assert first["known"]
    result = fleet.move("forgotten", "host3", check=False)
    assert result["outcome"] == "rolled-back" and not result["timings_ns"].get("freeze"), result
    missed = [each for each in first["known"] if each not in result["msg"]]
    assert not missed and "process 1 (python3) has" in result["msg"], result["msg"]
    said(fleet, "host1", "forgotten", lines + 3)
