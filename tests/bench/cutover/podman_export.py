# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman's pipeline: ``podman container checkpoint --export``, copy, ``podman container restore --import``.

Podman is no part of the lab. It is fetched from the package archive the lab's hosts were made from, resolved against what
they have, kept in the lab's cache, and installed into the two hosts for the bench.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from .lab import REPOSITORY, BenchLab, Carrier
from .pipeline import Sample, Stopwatch, Timing, Unavailable, watched

PORT = 7102
NAME = "bench-podman"
NETWORK, SUBNET, ADDRESS = "bench", "172.31.8.0/24", "172.31.8.5"
PACKAGES = ("podman", "netavark")
IMAGE = "localhost/counter:1"
DIRECTORY = "/run/bench-podman"
# A system container may not make the whiteouts that podman's overlay driver tries out, so files are copied: there is one of
# them, in memory. crun can do checkpoints only with a library that Debian leaves out: the runtime is Docker's.
PODMAN = f"PODMAN_IGNORE_CGROUPSV1_WARNING=1 podman --root {DIRECTORY}/storage --storage-driver vfs --runtime runc"


def download(host_root: Path, cache: Path) -> list[Path]:
    """Fetch podman and what a host lacks of what it needs; return the package files.

    :param host_root: the host's file system, whose package sources and list of installed packages are used.
    :raises Unavailable: the archive cannot be reached, or does not have it.
    """
    archives, lists = cache / "archives", cache / "lists"
    for directory in (archives, lists):
        (directory / "partial").mkdir(parents=True, exist_ok=True)
    # apt would take the list through another process's root for a broken one, and use this machine's
    installed = cache / "status"
    installed.write_bytes((host_root / "var/lib/dpkg/status").read_bytes())
    settings = {
        "Dir::State::status": installed,
        "Dir::State::lists": lists,
        "Dir::Cache::archives": archives,
        "Dir::Etc::sourcelist": host_root / "etc/apt/sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": host_root / "etc/apt/preferences.d",
        "Acquire::Check-Valid-Until": "no",
        "Debug::NoLocking": "true",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    wanted = ["-y", "--no-install-recommends", "--download-only", "install", *PACKAGES]
    for action in (["update"], wanted):
        command = ["apt-get", "-q", *options, *action]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or "Err:" in done.stdout:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise Unavailable(f"podman's packages could not be fetched: {said[-1] if said else 'apt-get said nothing'}")
    return sorted(archives.glob("*.deb"))


class PodmanExport:
    """The server is a podman container; each hop imports it at the destination under the same name and address."""

    name = "podman"

    def __init__(self, lab: BenchLab) -> None:
        self.lab = lab
        self.here, self.there = lab.hosts

    def prepare(self) -> None:
        """Install podman on both hosts, with the counter's image and a network of its own. Raises Unavailable."""
        roots = {host: Path(f"/proc/{self.lab.first_process(host)}/root") for host in self.lab.hosts}
        missing = [host for host, on in self.lab.on.items() if not on("command -v podman", check=False)]
        if missing:
            packages = download(roots[missing[0]], self.lab.lab.cache / "bench" / "podman")
        for host in missing:
            place = roots[host] / DIRECTORY.lstrip("/")
            place.mkdir(exist_ok=True)
            for package in packages:
                (place / package.name).write_bytes(package.read_bytes())
            self.lab.on[host](f"DEBIAN_FRONTEND=noninteractive dpkg -i {DIRECTORY}/*.deb && rm -f {DIRECTORY}/*.deb")
        first, second = self.lab.on.values()
        saved = Path(DIRECTORY.lstrip("/"), "counter.tar")
        for on in (first, second):
            on(
                f"set -e\nmkdir -p {DIRECTORY} /dev/shm\n"
                f"{PODMAN} network exists {NETWORK} || {PODMAN} network create --disable-dns --subnet {SUBNET} {NETWORK}\n"
                # Docker has set the policy of what is forwarded to drop
                f"iptables -I DOCKER-USER -s {SUBNET} -j ACCEPT\niptables -I DOCKER-USER -d {SUBNET} -j ACCEPT"
            )
        first(
            f"set -e\nid=$(docker create {REPOSITORY}/counter:1)\ndocker export $id | {PODMAN} import - {IMAGE}\n"
            f"docker rm $id\n{PODMAN} save -o /{saved} {IMAGE}"
        )
        (roots[second.name] / saved).write_bytes((roots[first.name] / saved).read_bytes())  # restore asks for its id
        second(f"{PODMAN} load -i /{saved}")

    def restore_host(self) -> None:
        """Undo :meth:`prepare`; the packages stay installed until the lab goes down."""
        for on in self.lab.on.values():
            on(
                f"{PODMAN} rm -f -t 0 {NAME}; {PODMAN} network rm {NETWORK}; {PODMAN} rmi {IMAGE}\n"
                f"iptables -D DOCKER-USER -s {SUBNET} -j ACCEPT; iptables -D DOCKER-USER -d {SUBNET} -j ACCEPT\n"
                f"rm -rf {DIRECTORY}",
                check=False,
            )

    def begin(self, mib: int) -> None:
        """Start the container."""
        self.lab.on[self.here](
            f"{PODMAN} run -d --name {NAME} --network {NETWORK} --ip {ADDRESS} -p {PORT}:{PORT} "
            f"{IMAGE} /counter {PORT} {mib}"
        )
        self.lab.publish(NAME, PORT, self.here)

    def hop(self) -> Sample:
        """Carry it to the other host, packets dropped meanwhile."""
        source, destination = self.lab.on[self.here], self.lab.on[self.there]
        for on in (source, destination):
            on(f"rm -rf {DIRECTORY}/image; mkdir -p {DIRECTORY}/image")
        carrier = Carrier(self.lab, self.here, self.there, f"{DIRECTORY}/image", f"{DIRECTORY}/image")
        export = f"{DIRECTORY}/image/checkpoint.tar"

        def carry_over() -> Timing:
            watch = Stopwatch()
            self.lab.shut(PORT)
            watch.phase("hold")
            source(f"{PODMAN} container checkpoint --tcp-established --compress none --export {export} {NAME}")
            watch.phase("dump")
            carrier.run()
            watch.phase("transfer")
            destination(f"{PODMAN} container restore --tcp-established --import {export}")
            watch.phase("restore")
            self.lab.publish(NAME, PORT, self.there)
            self.lab.reopen(PORT)
            watch.phase("release")
            return watch.timing()

        sample = watched(self.lab, PORT, carry_over)
        source(f"{PODMAN} rm -f -t 0 {NAME}")
        self.here, self.there = self.there, self.here
        return sample

    def end(self) -> None:
        """Remove the container, and open the edge after a hop that failed."""
        for on in self.lab.on.values():
            on(f"{PODMAN} rm -f -t 0 {NAME}; rm -rf {DIRECTORY}/image", check=False)
        self.lab.reopen(PORT, check=False)
        self.lab.withdraw(PORT)
