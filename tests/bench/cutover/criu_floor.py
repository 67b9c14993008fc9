# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: what CRIU alone takes for the same process, dumped and restored where it is.

No container, no copy, no other host, and nobody to hold packets from: the frozen and the restore time that CRIU states of
itself (``stats-dump`` and ``stats-restore``), with its quickest network lock (none) on a file system in memory. A process of
a container has namespaces and mounts to dump besides, so this is less than any container's move can reach. What the two
commands take from start to end is noted beside it, as ``dump_command`` and ``restore_command``.
"""

from __future__ import annotations

import subprocess

from .criu_statistics import frozen_ms, restore_ms
from .lab import REPOSITORY, VIRTUAL, BenchLab
from .pipeline import Sample, Stopwatch
from .shell import CommandFailed

PORT = 7104
NAME = "bench-criu"
PLACE = "/run/bench-criu"
WORK = f"{PLACE}/work"
OPTIONS = f"--images-dir {PLACE}/images --work-dir {WORK} --tcp-established --network-lock skip -v1"

# asks once for every line on its standard input; silent otherwise
SINGLE_QUESTIONS = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
answers = connection.makefile("rb")
for line in sys.stdin:
    connection.sendall(b"x\\n")
    print(answers.readline().decode().strip(), flush=True)
"""


class CriuFloor:
    """The server is a bare process on one host, with one silent connection."""

    name = "criu-floor"

    def __init__(self, lab: BenchLab) -> None:
        self.lab = lab
        self.host = lab.hosts[0]
        self.on = lab.on[self.host]
        self._client: subprocess.Popen[str] | None = None
        self._last = 0
        self._pid = ""

    def prepare(self) -> None:
        """Take the server's program out of its image."""
        self.on(
            f"set -e\nmkdir -p {PLACE}\nid=$(docker create {REPOSITORY}/counter:1)\n"
            f"docker cp -q $id:/counter {PLACE}/counter\ndocker rm $id"
        )

    def restore_host(self) -> None:
        """Undo :meth:`prepare`."""
        self.on(f"rm -rf {PLACE}")

    def begin(self, mib: int) -> None:
        """Start the server and its client."""
        self._pid = self.on(
            f"setsid {PLACE}/counter {PORT} {mib} >/dev/null 2>&1 &\necho $!\n"
            f"until ss -ltnH | grep -q ':{PORT} '; do sleep 0.05; done"
        )
        self.lab.publish(NAME, PORT, self.host)
        command = ["ip", "netns", "exec", self.lab.lab.client_namespace, "python3", "-c", SINGLE_QUESTIONS]
        self._client = subprocess.Popen(
            [*command, VIRTUAL, str(PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._last = 0
        self._ask()

    def _ask(self) -> bool:
        """Ask once; return whether the answer is the number that follows."""
        assert self._client is not None
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write("\n")
        self._client.stdin.flush()
        answer = self._client.stdout.readline().strip()
        if not answer:
            raise CommandFailed("the connection did not survive CRIU's dump and restore")
        self._last += 1
        return answer == str(self._last)

    def hop(self) -> Sample:
        """Dump and restore it where it is."""
        self.on(f"rm -rf {PLACE}/images {WORK}; mkdir -p {PLACE}/images {WORK}")
        watch = Stopwatch()
        self.on(f"criu dump --tree {self._pid} {OPTIONS} -o dump.log || {{ cat {WORK}/dump.log; exit 1; }}")
        watch.phase("dump_command")
        self.on(f"while [ -d /proc/{self._pid} ]; do sleep 0.01; done")  # the same process id is wanted again
        watch.phase("gone")
        self.on(f"criu restore -d {OPTIONS} -o restore.log || {{ cat {WORK}/restore.log; exit 1; }}")
        watch.phase("restore_command")
        del watch.phases["gone"]
        frozen, restore = frozen_ms(self.on, f"{WORK}"), restore_ms(self.on, f"{WORK}")
        return Sample(
            None, frozen + restore, {"dump": frozen, "restore": restore, **watch.phases}, lost=not self._ask()
        )

    def end(self) -> None:
        """End the server and its client."""
        if self._client:
            self._client.kill()
            self._client.wait()
            self._client = None
        if self._pid:
            self.on(f"kill -9 {self._pid}; rm -rf {PLACE}/images {WORK}", check=False)
            self._pid = ""
        self.lab.withdraw(PORT)
