# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is lost: its container goes on elsewhere from its snapshot, and what comes back with the host is removed."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from direct import Heart
from fleet import REPOSITORY, VIRTUAL, Fleet
from waiting import until

from relocate.lab.paths import Lab
from relocate.lab.status import first_process

pytestmark = pytest.mark.lab

PORT = 6410
VOLUME = "vault-data"
ASIDE = "/var/lib/docker/relocate/volumes"
INCREMENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 120) as connection:
    connection.settimeout(120)
    connection.sendall(b"INCR n\\r\\n")
    print(int(connection.recv(20)[1:]))
"""


def increment(fleet: Fleet) -> int:
    """Have the tenant count, over a connection of its own; return its count."""
    command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", INCREMENT, VIRTUAL, str(PORT)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def show(fleet: Fleet, host: str) -> str:
    """Return what the volume of the container vault has, by the container's own word."""
    return fleet.on(host, "docker exec vault /bin/busybox cat /data/word")


def test_a_tenant_outlives_its_host(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "config" / "relocate" / "snapshots.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(base64.b64encode(os.urandom(32)))
    key.chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    store = ("--store", str(tmp_path / "store"))
    fleet.tenant("ledger", "redis", "host1", port=PORT, inside=6379)
    fleet.tenants.append("vault")
    run = "/bin/busybox sh -c 'while :; do /bin/busybox sleep 1; done'"
    fleet.on("host1", f"docker run -d --name vault --restart always -v {VOLUME}:/data {REPOSITORY}/idle:1 {run}")
    fleet.on("host1", "docker exec vault /bin/busybox sh -c 'echo before > /data/word'")
    assert [increment(fleet) for _ in range(3)] == [1, 2, 3]
    made = json.loads(fleet.run("relocate", "snapshot", "ledger", "--to", store[1], "--json").stdout)
    assert increment(fleet) == 4  # it runs on, and this is lost later
    fleet.run("relocate", "snapshot", "vault", "--to", store[1])
    fleet.on("host1", "docker exec vault /bin/busybox sh -c 'echo later > /data/word'")
    assert fleet.run("relocate", "snapshots", "--verify", *store).returncode == 0

    restore = ("relocate", "restore", "ledger", "--to", "host2", *store)
    refused = fleet.run(*restore, check=False)
    assert refused.returncode == 1 and "runs on host1" in refused.stderr
    lab = Lab.from_environment()
    os.kill(first_process(lab.namespace, lab.state / "hosts", "host1"), signal.SIGKILL)
    try:
        refused = fleet.run(*restore, check=False)
        assert refused.returncode == 1 and "--host-is-dead host1" in " ".join(refused.stderr.split())
        result = json.loads(fleet.run(*restore, "--host-is-dead", "host1", "--json").stdout)
        assert result["snapshot"] == made["snapshot"] and result["outcome"] == "committed"
        assert increment(fleet) == 4
        fleet.run("relocate", "restore", "vault", "--to", "host2", *store, "--host-is-dead", "host1")
        assert show(fleet, "host2") == "before"
    finally:
        fleet.run("relocate", "lab", "up")
    fleet.on("host1", "docker start ledger")
    assert fleet.where("ledger") == ["host1", "host2"]
    copies = "docker inspect -f '{{.State.Running}}' ledger vault"
    what = "both copies: vault comes back by its restart policy"
    until(lambda: fleet.on("host1", copies).split(), what, lambda run: run == ["true", "true"])
    assert show(fleet, "host1") == "later" and show(fleet, "host2") == "before"
    assert increment(fleet) == 5  # of the one that was restored: the edge leads nowhere else
    fleet.run("relocate", "recover")
    assert fleet.where("ledger") == ["host2"] and increment(fleet) == 6
    assert fleet.where("vault") == ["host2"] and show(fleet, "host2") == "before"
    assert not fleet.on("host1", "docker ps -aq --filter name=^ledger$ --filter name=^vault$")
    assert not fleet.on("host1", f"docker volume ls -q --filter name=^{VOLUME}$")
    aside = fleet.on("host1", f"cat {ASIDE}/vault@*/{VOLUME}/word")
    assert aside == "later"  # what only the dead host had is kept for its owner
    assert "10.77.0.11" not in fleet.on("host0", "nft list set ip relocate shut")


def test_a_dump_on_trial_stops_a_container_for_a_moment(fleet: Fleet) -> None:
    """Its connections go on, nothing of it is kept, and it is the same container."""
    fleet.tenant("tried", "counter", "host1", "7680 8", port=7680)
    heart = Heart(fleet, 7680)
    started = "docker inspect -f '{{.State.StartedAt}} {{.State.Pid}} {{.HostConfig.RestartPolicy.Name}}' tried"
    before = fleet.on("host1", started)
    try:
        result = json.loads(fleet.run("relocate", "check", "tried", "--dump", "--json").stdout)
        assert result["movable"] and result["dump"]["frozen_ms"] > 0 and result["dump"]["memory_bytes"] > 1 << 20
        heart.assert_beats()
        shown = fleet.run("relocate", "check", "tried", "--dump").stdout
        assert "A dump on trial took" in shown
        heart.assert_beats()
    finally:
        heart.end()
    assert fleet.on("host1", started) == before
    left = fleet.on("host1", "ls /run/relocate/sessions; find /var/tmp -name 'relocate-*.sealed'")
    assert not left.strip()
    assert fleet.run("relocate", "recover", "--json", check=False).returncode == 0
