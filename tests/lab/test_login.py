# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login that moves containers: enough for every day, and of little use to a thief of its key."""

from __future__ import annotations

import json
import subprocess

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from fleet import NO_LIMIT, Fleet

pytestmark = pytest.mark.lab

SUDO = "sudo -n /usr/local/sbin/relocate-request"
PORT = 7610


def as_thief(fleet: Fleet, host: str, command: str, *options: str, data: str = "") -> subprocess.CompletedProcess[str]:
    """Use the key that moves containers for whatever one likes."""
    known = fleet.variables(host)
    *ssh, _address, _script = fleet.ssh(host, "")
    ssh[ssh.index("-i") + 1] = known["relocate_user_key_file"]
    # the tests' shared connection is root's
    own = [word.replace("tests-%h", "thief-%h") for word in ssh]
    own += ["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", *options]
    own += [f"{known['relocate_user']}@{known['ansible_host']}", *([command] if command else [])]
    return subprocess.run(own, input=data, capture_output=True, text=True, check=False, timeout=300)


def request(fleet: Fleet, host: str, module: str, **arguments: object) -> dict[str, object]:
    """Make a request by hand."""
    done = as_thief(fleet, host, f"{SUDO} {module}", data=json.dumps({"arguments": arguments}))
    answer: dict[str, object] = json.loads(done.stdout or json.dumps({"failed": True, "msg": done.stderr}))
    return answer


def test_a_container_is_made_moved_and_recovered_without_root(fleet: Fleet) -> None:
    """Root's login does not exist for these playbooks: the inventory's user is one that no host has."""
    fleet.tenants.append("plain")
    made = {"container": "plain", "image": "10.77.0.10:5000/counter:1", "host": "host1"}
    made["publish"] = f"10.88.0.100:{PORT}:{PORT}:7000/tcp"
    nobody = {"ansible_user": "nobody-there", "relocate_downtime_limit_ms": NO_LIMIT}
    fleet.playbook("instantiate.yml", **made, **nobody)
    assert fleet.where("plain") == ["host1"]
    fleet.playbook("relocate.yml", container="plain", destination="host2", **nobody)
    assert fleet.where("plain") == ["host2"]
    fleet.playbook("recover.yml", **nobody)
    done = fleet.playbook("tenants.yml", **nobody)
    assert "unreachable=0" in done.stdout
    assert "unreachable=1" not in done.stdout
    assert "unreachable=1" in fleet.playbook("profile.yml", check=False, **nobody).stdout  # the operator's


def test_a_thief_of_the_key_gets_no_shell_and_no_root(fleet: Fleet) -> None:
    """Commands, files and ways through the host are refused."""
    for command in ("id", "cat /etc/shadow", "sudo -n /bin/sh -c id", "sudo -n -l", f"{SUDO} relocation_info; id", ""):
        done = as_thief(fleet, "host1", command)
        assert done.returncode != 0, command
        assert "uid=" not in done.stdout, command
        assert "root" not in done.stdout, command
    for module in ("docker_daemon", "nat_service", "criu_dump", "../relocation_info"):  # nat_service is the edge's
        assert request(fleet, "host1", module)["failed"], module
    through = as_thief(fleet, "host1", "", "-o", "ControlPath=none", "-W", "10.77.0.12:22")
    assert through.returncode != 0
    assert "SSH-2.0" not in through.stdout


def test_sudo_knows_these_requests_and_no_others(fleet: Fleet) -> None:
    """By sudo's own word, on every host; and nobody but root can change what runs."""
    for host, modules in (
        ("host0", ("nat_service", "nat_service_info", "relocation_info", "relocation_session", "service_fence")),
        (
            "host1",
            (
                "relocation_info",
                "relocation_preflight",
                "relocation_session",
                "tenant_container",
                "tenant_container_info",
            ),
        ),
    ):
        listed = fleet.on(host, "sudo -l -U relocate")
        allowed = listed.partition("may run the following commands")[2].splitlines()[1:]
        assert [line.strip() for line in allowed] == [
            f"(root) NOPASSWD: {SUDO.removeprefix('sudo -n ')} {module}" for module in modules
        ]
        fleet.on(host, "visudo -cf /etc/sudoers.d/relocate && test $(stat -c %a:%U /etc/sudoers.d/relocate) = 440:root")
        writable = (
            "find /usr/local/lib/relocate /usr/local/sbin /var/lib/relocate-login /etc/relocate /etc/sudoers.d "
            "\\( ! -user root -o -perm /022 \\) ! -type l"
        )
        assert fleet.on(host, writable) == ""
        assert fleet.on(host, "id -nG relocate") == "relocate"


def test_a_thief_cannot_have_the_memory_sent_to_a_machine_of_his_own(fleet: Fleet) -> None:
    """He may start a part, and has made its certificates himself; but it hears hosts of the fleet alone."""
    fleet.tenant("wanted", "counter", "host1", port=PORT + 1, inside=7000)
    identifier = "thief-1"
    keys = credentials.make(identifier)
    specification = {"id": identifier, "container": "wanted", "mode": "stop-and-copy", "memory_bytes": 1}
    specification |= {"listen": "10.77.0.11", "credentials": keys["source"]}
    order = {"state": "started", "relocation": identifier, "part": "source"}
    answer = request(fleet, "host1", "relocation_session", **order, specification=json.dumps(specification))
    assert isinstance(answer.get("port"), int), answer
    # from the lab's machine, whose address on the fabric, 10.77.0.1, is no host's
    script = (
        "import socket, sys\n"
        f"peer = socket.create_connection(('10.77.0.11', {answer['port']}), 120)\n"
        "peer.settimeout(120)\n"
        "peer.sendall(b'\\x16\\x03\\x01\\x00\\x05hello')\n"
        "try:\n    print('heard' if peer.recv(1) else 'hung up')\n"
        "except ConnectionResetError:\n    print('hung up')\n"
    )
    namespace = fleet.variables("host1")["relocate_lab_namespace"]
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "python3", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "hung up"
    assert fleet.where("wanted") == ["host1"]
    # it would wait for its edge for some time yet, beside the next tests
    fleet.on("host1", "pkill -KILL -f '[r]elocate_proxy'")
    fleet.run("relocate", "recover")
    assert fleet.on("host1", "ls /run/relocate/sessions") == "" and fleet.where("wanted") == ["host1"]
