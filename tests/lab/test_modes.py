# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways memory can travel: post-copy on real hosts, its rollback, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest
import python_image
from direct import FAULTS
from fleet import NO_LIMIT, REPOSITORY, VIRTUAL, Fleet
from outside import SIGN
from waiting import until
from watching import watching

pytestmark = pytest.mark.lab

MEBIBYTES = 64

# Has the server compare all of its memory with what it was made as, over a connection of its own.
VERIFY = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 30) as connection:
    connection.settimeout(60)
    connection.sendall(b"verify\\n")
    sys.exit(connection.recv(10) != b"1\\n")
"""


def verify(fleet: Fleet, port: int) -> None:
    """Check that a counter has lost no page."""
    command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", VERIFY, VIRTUAL, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the server's memory is not what it was: {done.stderr}"


def move(fleet: Fleet, name: str, to: str, mode: str) -> dict[str, Any]:
    """Try to move a container in a mode; return the result document."""
    options = ["--to", to, "--mode", mode, "--downtime-limit", NO_LIMIT, "--json"]
    done = fleet.run("relocate", "move", name, *options, check=False)
    assert done.stdout, f"relocate move printed nothing: {done.stderr}"
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def assert_nothing_left(fleet: Fleet, *hosts: str) -> None:
    """See that nothing serves or fetches pages on hosts, and that no session is there: as soon as the parts have ended."""
    script = "pgrep -fa '[p]age_process|[c]riu (dump|lazy-pages)'; ls /run/relocate/sessions"
    found = lambda: [said for host in hosts if (said := fleet.on(host, script, check=False))]  # noqa: E731
    until(found, "no session and no page process", lambda left: not left)


def test_memory_follows_a_running_copy_and_none_is_lost(fleet: Fleet) -> None:
    """Docker 26 to 28 and back, with a client that asks all the time; the source is needed for a while, then not."""
    fleet.tenant("walker", "counter", "host1", f"7100 {MEBIBYTES}", 7100)
    with watching(fleet, "counter", 7100):
        for source, destination in (("host1", "host3"), ("host3", "host1")):
            result = move(fleet, "walker", destination, "post-copy")
            assert result["outcome"] == "committed", result.get("msg")
            assert result["mode"] == "post-copy" and result["source_needed_ms"] > 0
            assert result["bytes"]["memory"] > MEBIBYTES << 20
            assert fleet.where("walker") == [destination]
            verify(fleet, 7100)
            assert_nothing_left(fleet, source, destination)


#: Forty MiB of values, and a digest that depends on each of them.
FILL = "for i=1,100000 do redis.call('set','k'..i,string.rep(i,70)) end return redis.call('dbsize')"
DIGEST = "local d='' for i=1,100000 do d=redis.sha1hex(d..redis.call('get','k'..i)) end return d"


def test_a_server_with_threads_finds_all_its_memory(fleet: Fleet) -> None:
    """Deferred areas lie between the stacks of threads, which are carried."""
    fleet.tenant("store", "redis", "host1", port=6401, inside=6379)
    ask = lambda host, script: fleet.on(host, f'docker exec store redis-cli eval "{script}" 0')  # noqa: E731
    assert ask("host1", FILL) == "100000"
    digest = ask("host1", DIGEST)
    with watching(fleet, "redis", 6401):
        for source, destination in (("host1", "host3"), ("host3", "host1")):
            result = move(fleet, "store", destination, "post-copy")
            assert result["outcome"] == "committed", result["msg"]
            assert result["measured"]["left_bytes"] < result["measured"]["memory_bytes"] / 3
            assert ask(destination, DIGEST) == digest
            assert_nothing_left(fleet, source, destination)


#: Two small areas at the beginning of a window of 2 MiB, in which a large one begins that ends elsewhere: CRIU's dump looks at
#: its head twice. When it has moved (its clock has jumped), what is on its way is unmapped, moved, forgotten and split.
ODD = """
import ctypes, time
libc = ctypes.CDLL(None)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
word = ctypes.c_ulong
PAGE, AT, PAGES = 4096, 0x10000000000, 8192
def area(at, pages):
    assert libc.mmap(word(at), word(pages * PAGE), word(3), word(0x100022), word(2**64 - 1), word(0)) == at
    for page in range(pages):
        ctypes.memmove(at + page * PAGE, (page + 1).to_bytes(8, "big") * (PAGE // 8), PAGE)
area(AT, 16)
area(AT + 32 * PAGE, 16)
LARGE = AT + 64 * PAGE
area(LARGE, PAGES)
def right(page, at):
    return ctypes.string_at(at, PAGE) == (page + 1).to_bytes(8, "big") * (PAGE // 8)
print("made", flush=True)
before = time.monotonic()
while time.monotonic() < before + 0.03:
    before = time.monotonic()
    time.sleep(0.002)
to = libc.mremap(word(LARGE + 4096 * PAGE), word(1000 * PAGE), word(1000 * PAGE), word(3), word(AT - (64 << 20)))
for page in range(0, 4096, 16):
    libc.munmap(word(LARGE + page * PAGE), word(4 * PAGE))
    libc.madvise(word(LARGE + (page + 4) * PAGE), word(4 * PAGE), 4)
    libc.mprotect(word(LARGE + (page + 10) * PAGE), word(2 * PAGE), 1)
wrong = [page for page in range(1000) if not right(4096 + page, to + page * PAGE)]
wrong += [page for page in range(5096, PAGES) if not right(page, LARGE + page * PAGE)]
for page in range(0, 4096, 16):
    wrong += [each for each in range(page + 8, page + 16) if not right(each, LARGE + each * PAGE)]
    wrong += [each for each in range(page + 4, page + 8) if ctypes.string_at(LARGE + each * PAGE, PAGE) != bytes(PAGE)]
print("wrong", wrong, flush=True)
time.sleep(10000)
"""


def test_a_program_that_changes_its_memory_while_it_drains(fleet: Fleet) -> None:
    """Every page comes once, whatever CRIU has looked at twice, and where it belongs, whatever the program does with it."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "odd", ODD)
    until(lambda: fleet.on("host1", "docker logs odd"), "the program's beginning", lambda log: log == "made")
    result = move(fleet, "odd", "host2", "post-copy")
    assert result["outcome"] == "committed", result["msg"]
    said = until(lambda: fleet.on("host2", "docker logs odd 2>&1"), "the program's verdict", lambda log: "wrong" in log)
    assert said.splitlines() == ["made", "wrong []"]
    assert_nothing_left(fleet, "host1", "host2")


def test_a_drain_whose_source_is_silent_is_kept_and_goes_on(fleet: Fleet) -> None:
    """Its page processes are stopped, then killed: the copy stays, the move says what is missing, and recover brings it in."""
    fleet.tenant("walker", "counter", "host1", "7100 256", 7100)
    # when it has voted: it serves, and nothing has been asked for yet
    order = {"part": "source", "state": "voted", "moment": "after", "do": "pause", "seconds": 60}
    fleet.on("host1", f"umask 077; mkdir -p /run/relocate; cat >{FAULTS}", data=json.dumps(order))

    def stop() -> None:
        fleet.await_on("host1", f"[ -e {SIGN} ]", "a source that has voted")
        fleet.on("host1", f"pkill -STOP -f '[p]age_process serve'; rm {SIGN}")

    stopping = threading.Thread(target=stop)
    stopping.start()
    result = move(fleet, "walker", "host2", "post-copy")
    stopping.join()
    assert result["outcome"] == "in-doubt", result
    assert "MiB of the copy's memory are still at its source" in result["msg"] and "nothing is lost" in result["msg"]
    assert fleet.where("walker") == ["host1", "host2"], "one of them is frozen"
    fleet.on("host1", "pkill -KILL -f '[p]age_process serve'")
    fleet.await_on(
        "host2", "! pgrep -f '[r]elocate_proxy destination'", "the end of a destination that waits for its edge"
    )
    fleet.run("relocate", "recover")
    assert fleet.where("walker") == ["host2"]
    verify(fleet, 7100)
    assert_nothing_left(fleet, "host1", "host2")


def test_a_post_copy_is_taken_back_before_the_commit(fleet: Fleet) -> None:
    """Its pages are being served already: the tasks run on as they were."""
    fleet.tenant("walker", "counter", "host1", f"7100 {MEBIBYTES}", 7100)
    order = {"part": "destination", "state": "prepared", "moment": "after", "do": "fail"}
    with watching(fleet, "counter", 7100):
        fleet.on("host2", "umask 077; mkdir -p /run/relocate; cat >/run/relocate/faults.json", data=json.dumps(order))
        result = move(fleet, "walker", "host2", "post-copy")
        assert result["outcome"] == "rolled-back" and "rehearsed" in result["problems"][0], result
        assert fleet.where("walker") == ["host1"]
        verify(fleet, 7100)
    assert_nothing_left(fleet, "host1", "host2")


def test_a_label_forbids_post_copy(fleet: Fleet) -> None:
    """Before anything is touched."""
    label = "--label relocate.mtd/post-copy=never"
    fleet.tenants.append("careful")
    fleet.on("host1", f"docker run -d --name careful {label} {REPOSITORY}/idle:1")
    before = fleet.picture()
    result = move(fleet, "careful", "host2", "post-copy")
    assert result["outcome"] == "refused"
    assert "the container careful is labelled relocate.mtd/post-copy=never" in result["msg"]
    assert fleet.picture() == before


def test_memory_goes_ahead_of_a_container_where_the_kernel_tells_what_was_written(fleet: Fleet) -> None:
    """Elsewhere pre-copy is refused before anything is touched, with this reason. ``make vm-test`` has such a kernel."""
    tracks = fleet.on("host1", "criu check --feature mem_dirty_track >/dev/null 2>&1 && echo yes", check=False) == "yes"
    fleet.tenant("walker", "counter", "host1", f"7100 {MEBIBYTES if tracks else 8}", 7100)
    if not tracks:
        before = fleet.picture()
        result = move(fleet, "walker", "host2", "pre-copy")
        assert result["outcome"] == "refused" and fleet.picture() == before
        assert "the kernel of host1 does not tell which memory was written" in result["msg"]
        return
    with watching(fleet, "counter", 7100):
        for source, destination in (("host1", "host2"), ("host2", "host1")):
            result = move(fleet, "walker", destination, "pre-copy")
            assert result["outcome"] == "committed", result.get("msg")
            assert len(result["rounds"]) > 1 and result["rounds"][0]["bytes"] > MEBIBYTES << 20
            assert result["measured"]["left_bytes"] == result["rounds"][-1]["bytes"] < MEBIBYTES << 18
            assert fleet.where("walker") == [destination]
            verify(fleet, 7100)
            assert_nothing_left(fleet, source, destination)
