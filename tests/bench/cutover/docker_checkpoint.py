# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's own pipeline: ``docker checkpoint create``, copy, ``docker start --checkpoint``.

The container keeps its address, because both hosts have a network of the same subnet: Docker can do it without help. Docker
28 and later cannot start such a checkpoint, so it is measured between two hosts with Docker 26.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

from .lab import REPOSITORY, BenchLab, Carrier
from .pipeline import Sample, Stopwatch, Timing, Unavailable, watched

PORT = 7101
NAME = "bench-docker"
NETWORK, SUBNET, ADDRESS = "bench", "172.30.0.0/24", "172.30.0.5"
RUNC_CONF = "/etc/criu/runc.conf"


def experimental(lab: BenchLab, state: str) -> None:
    """Switch the daemons' experimental mode, which has ``docker checkpoint``, with the collection's own module.

    Raises Unavailable when the daemons cannot be restarted, because containers run.
    """
    command = [str(Path(sys.executable).with_name("ansible")), "-i", lab.inventory, ",".join(lab.hosts)]
    command += [
        "-m",
        "relocate.mtd.docker_daemon",
        "-a",
        f'{{"settings": {{"experimental": true}}, "state": "{state}"}}',
    ]
    done = subprocess.run(command, cwd=lab.root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if "msg" in line] or [done.stdout + done.stderr]
        raise Unavailable(f"Docker's experimental mode could not be switched: {said[0].strip()}")


class DockerCheckpoint:
    """The server is a container; each hop makes its like at the destination and starts it from the checkpoint."""

    name = "docker"

    def __init__(self, lab: BenchLab) -> None:
        self.lab = lab
        self.here, self.there = lab.hosts
        self._numbers = itertools.count(1)
        self._arguments = ""

    def prepare(self) -> None:
        """Make what both hosts need. Raises Unavailable."""
        experimental(self.lab, "present")
        for on in self.lab.on.values():
            on(
                f"docker network inspect {NETWORK} >/dev/null 2>&1 || docker network create --subnet {SUBNET} {NETWORK}\n"
                # Docker gives CRIU no options: runc's own file is the only way to let connections live
                f"mkdir -p $(dirname {RUNC_CONF}) && echo tcp-established >{RUNC_CONF}\n"
                f"docker pull -q {REPOSITORY}/counter:1"
            )

    def restore_host(self) -> None:
        """Undo :meth:`prepare`."""
        for on in self.lab.on.values():
            on(
                f"docker rm -f {NAME}; docker network rm {NETWORK}; rm -f {RUNC_CONF}; rmdir $(dirname {RUNC_CONF})",
                False,
            )
        experimental(self.lab, "absent")

    def begin(self, mib: int) -> None:
        """Start the container."""
        self._arguments = (
            f"--name {NAME} --network {NETWORK} --ip {ADDRESS} -p {PORT}:{PORT} {REPOSITORY}/counter:1 {PORT} {mib}"
        )
        self.lab.on[self.here](f"docker run -d {self._arguments}")
        self.lab.publish(NAME, PORT, self.here)

    def hop(self) -> Sample:
        """Carry it to the other host, packets dropped meanwhile."""
        source, destination = self.lab.on[self.here], self.lab.on[self.there]
        old = source(f"docker inspect -f '{{{{.Id}}}}' {NAME}")
        new = destination(f"docker create {self._arguments}").splitlines()[-1]
        # Docker refuses a name it has had for the same content
        checkpoint = f"bench{next(self._numbers)}"
        place = f"/var/lib/docker/containers/%s/checkpoints/{checkpoint}"
        carrier = Carrier(self.lab, self.here, self.there, place % old, place % new)

        def carry_over() -> Timing:
            watch = Stopwatch()
            self.lab.shut(PORT)
            watch.phase("hold")
            source(f"docker checkpoint create {NAME} {checkpoint}")
            watch.phase("dump")
            carrier.run()
            watch.phase("transfer")
            destination(f"docker start --checkpoint {checkpoint} {NAME}")
            watch.phase("restore")
            self.lab.publish(NAME, PORT, self.there)
            self.lab.reopen(PORT)
            watch.phase("release")
            return watch.timing()

        sample = watched(self.lab, PORT, carry_over)
        source(f"docker rm -f {NAME}")
        self.here, self.there = self.there, self.here
        return sample

    def end(self) -> None:
        """Remove the container, and open the edge after a hop that failed."""
        for on in self.lab.on.values():
            on(f"docker rm -f {NAME}", check=False)
        self.lab.reopen(PORT, check=False)
        self.lab.withdraw(PORT)
