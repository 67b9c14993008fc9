# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""System calls of our own: interfaces down, and a process under a chosen pid."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from relocate_proxy.host import syscalls

from tests.lab.waiting import until
from tests.paths import PROXY, ROOT

from .namespaces import Network

pytestmark = pytest.mark.kernel


def test_no_packet_leaves_a_network_whose_links_are_down(network: Callable[[], Network]) -> None:
    """Loopback stays; other namespaces, ours among them, are not touched."""
    one, other = network(), network()
    for place in (one, other):
        place.run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
        for name in ("left", "right"):
            place.run("ip", "link", "set", name, "up")
    syscalls.in_network(one.path, syscalls.links_down)
    up = one.run("ip", "-o", "link", "show", "up")
    assert "lo:" in up and "left" not in up and "right" not in up
    assert "left" in other.run("ip", "-o", "link", "show", "up")


def test_work_elsewhere_leaves_this_thread_where_it_is(network: Callable[[], Network]) -> None:
    """What it returns and what it raises come back."""
    place = network()
    ours, theirs = Path("/proc/self/ns/net"), Path("/proc/thread-self/ns/net")
    here = ours.stat().st_ino
    assert syscalls.in_network(place.path, lambda: theirs.stat().st_ino) == Path(place.path).stat().st_ino != here
    assert ours.stat().st_ino == here
    with pytest.raises(ZeroDivisionError):
        syscalls.in_network(place.path, lambda: 1 // 0)
    with pytest.raises(FileNotFoundError):
        syscalls.in_network("/proc/0/ns/net", int)


STAND_IN = """
import os, sys, time
sys.path[:0] = sys.argv[1:]
from relocate_proxy.host import syscalls
wanted = os.fork()
if wanted == 0:
    os._exit(0)
os.waitpid(wanted, 0)
keeper = os.fork()
if keeper == 0:
    syscalls.stand_in(wanted, 0.05)
    try:
        syscalls.stand_in(wanted)
    except FileExistsError:
        os._exit(7)
    os._exit(0)
print(os.WEXITSTATUS(os.waitpid(keeper, 0)[1]), os.WEXITSTATUS(os.waitpid(wanted, 0)[1]))
"""


def test_a_stand_in_is_our_parents_child_under_the_wanted_pid() -> None:
    """The shim, whose child the keeper is, sees the pid it waits for end; a taken pid is refused."""
    paths = [str(PROXY), str(ROOT / "collections")]
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN, *paths], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout, done.stderr) == ("7 1\n", "")


def test_a_placeholder_dies_with_its_keeper() -> None:
    """Whoever kills that: nothing else would ever end it, once it has left the container's control groups."""
    script = (
        "import os, signal; from relocate_proxy.restore.holder import start_holder; "
        "print(start_holder('', {}), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = f"{PROXY}:{ROOT / 'collections'}"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    placeholder = Path("/proc", done.stdout.strip())
    assert done.stdout, done.stderr
    until(placeholder.exists, "its end", lambda there: not there)
