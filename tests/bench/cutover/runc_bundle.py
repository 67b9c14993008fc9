# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bare runc pipeline: ``runc checkpoint``, copy, ``runc restore``, with everything around it made by hand.

No daemon is asked, and the options are the defaults but for living connections. The container joins a network namespace
made beforehand, with the same address on both hosts, so that nothing has to be rewritten. What CRIU itself states is noted
as ``criu_frozen`` and ``criu_restore``: the same program as in ``criu-floor``, but in a container.
"""

from __future__ import annotations

import dataclasses
import json
import shlex

from .criu_statistics import frozen_ms, restore_ms
from .lab import REPOSITORY, BenchLab, Carrier
from .pipeline import Sample, Stopwatch, Timing, watched

PORT = 7103
NAME = "bench-runc"
BUNDLE, IMAGES, WORK = "/run/bench-runc/bundle", "/run/bench-runc/images", "/run/bench-runc/work"
NETWORK = "bench"
SUBNET, GATEWAY, ADDRESS = "172.31.7.0/24", "172.31.7.1/24", "172.31.7.5"

NETWORK_UP = f"""
ip netns add {NETWORK}
ip link add bench0 type veth peer name eth0 netns {NETWORK}
ip address add {GATEWAY} dev bench0
ip link set bench0 up
ip -n {NETWORK} address add {ADDRESS}/24 dev eth0
ip -n {NETWORK} link set eth0 up
ip -n {NETWORK} link set lo up
ip -n {NETWORK} route add default via {GATEWAY.partition("/")[0]}
iptables -I DOCKER-USER -s {SUBNET} -j ACCEPT
iptables -I DOCKER-USER -d {SUBNET} -j ACCEPT
nft -f - <<'END'
table ip bench {{
  chain in {{ type nat hook prerouting priority dstnat; tcp dport {PORT} dnat to {ADDRESS}; }}
  chain out {{ type nat hook postrouting priority srcnat; ip saddr {SUBNET} masquerade; }}
}}
END
"""

NETWORK_DOWN = f"""
nft delete table ip bench
iptables -D DOCKER-USER -s {SUBNET} -j ACCEPT
iptables -D DOCKER-USER -d {SUBNET} -j ACCEPT
ip link delete bench0
ip netns delete {NETWORK}
"""


def bundle(spec: dict, mib: int) -> dict:
    """Return the counter's ``config.json``, from what ``runc spec`` gives."""
    process = {**spec["process"], "args": ["/counter", str(PORT), str(mib)], "terminal": False}
    process.pop("rlimits", None)  # a system container may not raise them
    namespaces = [
        {**each, "path": f"/run/netns/{NETWORK}"} if each["type"] == "network" else each
        for each in spec["linux"]["namespaces"]
    ]
    root = {**spec["root"], "readonly": False}  # CRIU makes a directory in it
    return {**spec, "process": process, "root": root, "linux": {**spec["linux"], "namespaces": namespaces}}


class RuncBundle:
    """The server is a bundle on both hosts; it runs on one of them."""

    name = "runc"

    def __init__(self, lab: BenchLab) -> None:
        self.lab = lab
        self.here, self.there = lab.hosts

    def prepare(self) -> None:
        """Make what both hosts need."""
        for on in self.lab.on.values():
            on(NETWORK_DOWN, check=False)
            on("set -e" + NETWORK_UP)
            on(
                f"set -e\nrm -rf {BUNDLE}; mkdir -p {BUNDLE}/rootfs\n"
                f"id=$(docker create {REPOSITORY}/counter:1)\n"
                f"docker export $id | tar -x -C {BUNDLE}/rootfs\ndocker rm $id\n"
            )

    def restore_host(self) -> None:
        """Undo :meth:`prepare`."""
        for on in self.lab.on.values():
            on(NETWORK_DOWN + f"rm -rf {BUNDLE} {IMAGES} {WORK}", check=False)

    def begin(self, mib: int) -> None:
        """Write the bundle on both hosts and run it on one."""
        for on in self.lab.on.values():
            spec = json.loads(on(f"cd {BUNDLE} && rm -f config.json && runc spec && cat config.json"))
            on(f"printf %s {shlex.quote(json.dumps(bundle(spec, mib)))} >{BUNDLE}/config.json")
        self.lab.on[self.here](f"cd {BUNDLE} && runc run -d {NAME} >/dev/null 2>&1")
        self.lab.publish(NAME, PORT, self.here)

    def hop(self) -> Sample:
        """Carry it to the other host, packets dropped meanwhile."""
        source, destination = self.lab.on[self.here], self.lab.on[self.there]
        for on in (source, destination):
            on(f"rm -rf {IMAGES} {WORK}; mkdir -p {IMAGES} {WORK}")
        carrier = Carrier(self.lab, self.here, self.there, IMAGES, IMAGES)
        places = f"--image-path {IMAGES} --work-path {WORK} --tcp-established"

        def carry_over() -> Timing:
            watch = Stopwatch()
            self.lab.shut(PORT)
            watch.phase("hold")
            source(f"runc checkpoint {places} {NAME} || {{ grep -m 3 Error {WORK}/dump.log; exit 1; }}")
            watch.phase("dump")
            carrier.run()
            watch.phase("transfer")
            destination(
                f"cd {BUNDLE} && runc restore -d {places} {NAME} >/dev/null 2>{WORK}/errors || "
                f"{{ cat {WORK}/errors; grep -m 3 Error {WORK}/restore.log; exit 1; }}"
            )
            watch.phase("restore")
            self.lab.publish(NAME, PORT, self.there)
            self.lab.reopen(PORT)
            watch.phase("release")
            return watch.timing()

        sample = watched(self.lab, PORT, carry_over)
        stated = {"criu_frozen": frozen_ms(source, WORK), "criu_restore": restore_ms(destination, WORK)}
        sample = dataclasses.replace(sample, phases={**sample.phases, **stated})
        self.here, self.there = self.there, self.here
        return sample

    def end(self) -> None:
        """Remove the container, and open the edge after a hop that failed."""
        for on in self.lab.on.values():
            on(f"runc delete -f {NAME}; rm -rf {IMAGES} {WORK}", check=False)
        self.lab.reopen(PORT, check=False)
        self.lab.withdraw(PORT)
