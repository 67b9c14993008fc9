# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself, on a second lab beside whatever runs on this machine: up, ill, healed, entered, down without a trace."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NAME = "selftest"
STATE = Path(f"/var/lib/relocate-lab-{NAME}")
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("RELOCATE_LAB_")},
    "RELOCATE_LAB_NAME": NAME,
    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    "PATH": f"{BIN}:{os.environ['PATH']}",
}
IDLE_MEMORY = 250e6  # bytes a host may take while idle

Done = subprocess.CompletedProcess[str]


def run(*argv: str | Path, check: bool = True) -> Done:
    """Run a command in the second lab's environment."""
    done = subprocess.run([*argv], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert not check or done.returncode == 0, f"{argv} gave {done.returncode}: {done.stdout}{done.stderr}"
    return done


def lab(*arguments: str, check: bool = True) -> Done:
    """Run `relocate lab …`."""
    return run(BIN / "relocate", "lab", *arguments, check=check)


def status() -> dict[str, Any]:
    """Return `relocate lab status --json`."""
    document: dict[str, Any] = json.loads(lab("status", "--json").stdout)
    return document


def host(name: str) -> dict[str, Any]:
    """Return one host's status."""
    return next(entry for entry in status()["hosts"] if entry["name"] == name)


def machine() -> dict[str, list[str]]:
    """Return what of the machine's own a lab must not change, and everything that carries the second lab's name.

    What is another lab's by its name is left out: one may be going up or down beside this.
    """
    another = re.compile(rf"relocate-(lab|client)(?!-{NAME}(\W|$))")

    def lines(*argv: str) -> list[str]:
        printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        return sorted(line for line in printed if not another.search(line))

    named = f"relocate-lab-{NAME}"
    processes = [line for line in lines("ps", "axww", "-o", "args") if f"{named}/" in line]
    groups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(named) or "lxc.pivot" in path]
    return {
        "namespaces": lines("ip", "netns"),
        "mounts": lines("mount"),
        "rules": subprocess.run(
            ["nft", "list", "ruleset"], capture_output=True, text=True, check=True
        ).stdout.splitlines(),
        "links": [line.split(":")[1] for line in lines("ip", "-o", "link")],
        "routes": lines("ip", "route"),
        "groups": sorted(groups),
        "processes": processes,
        "state": [str(path) for path in (STATE, Path("/run/lock", f"{named}.lock")) if path.exists()],
    }


@pytest.fixture(scope="module", autouse=True)
def second_lab() -> Iterator[None]:
    """Bring the second lab up; afterwards take it down and compare the machine with what it was."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    lab("down")
    before = machine()
    lab("up", "--hosts", "3")
    yield
    lab("down")
    # the kernel and LXC take what is left of a control group or a mount away when its last user has gone
    until(machine, "the machine as it was", lambda now: now == before, words=lambda: f"it was {before!r}")


def healed() -> None:
    """Heal the lab, and check that it is well and can be reached."""
    assert "The lab is up" in lab("up").stdout
    assert status()["problem"] == ""
    ping_all()


def ping_all() -> None:
    """Reach every host by Ansible, over the shared connections it keeps."""
    pings = run(BIN / "ansible", "-i", "inventories/lab", "all", "-m", "ansible.builtin.ping").stdout
    assert pings.count("SUCCESS") == len(status()["hosts"])


def test_all_hosts_answer_ansible_over_ssh_and_a_second_up_changes_nothing() -> None:
    pids = {entry["name"]: entry["pid"] for entry in status()["hosts"]}
    healed()
    assert {entry["name"]: entry["pid"] for entry in status()["hosts"]} == pids


def test_host_keys_are_checked() -> None:
    known = STATE / "ssh" / "known_hosts"
    text = known.read_text()
    keys = [line.split()[2] for line in text.splitlines()]
    try:
        # host1 with host2's key: what a stranger at host1's address would look like
        known.write_text(text.replace(keys[1], keys[2]))
        done = lab("shell", "host1", "--", "true", check=False)
        assert done.returncode == 255
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr or "Host key verification failed" in done.stderr
    finally:
        known.write_text(text)


def test_the_hosts_are_of_two_kinds_and_docker_runs_containers_on_both() -> None:
    versions = {}
    for name in ("host1", "host3"):
        script = (
            "cp /usr/bin/busybox /tmp && tar -C /tmp -c busybox | docker import - box:1 >/dev/null && "
            "docker run --rm box:1 /busybox echo from-a-container && docker version -f '{{.Server.Version}}'"
        )
        greeting, version = lab("shell", name, "--", "sh", "-c", script).stdout.split()
        assert greeting == "from-a-container"
        versions[name] = int(version.partition(".")[0])
    assert versions["host1"] == 26
    assert versions["host3"] >= 28


def test_hosts_are_reachable_from_the_client_only_through_host0() -> None:
    assert lab("shell", "client", "--", "nc", "-z", "-w", "2", "10.88.0.1", "22", check=False).returncode == 0
    assert lab("shell", "client", "--", "nc", "-z", "-w", "1", "10.77.0.11", "22", check=False).returncode != 0
    assert "default via 10.77.0.10" in lab("shell", "host2", "--", "ip", "route").stdout


def test_an_idle_host_takes_little_memory() -> None:
    for entry in status()["hosts"]:
        resident = int(
            lab("shell", entry["name"], "--", "sh", "-c", "ps axo rss= | awk '{n += $1} END {print n * 1024}'").stdout
        )
        assert 0 < entry["memory"] <= resident <= IDLE_MEMORY


def test_shell_passes_words_output_and_status_through() -> None:
    done = lab("shell", "host2", "--", "sh", "-c", "echo 'two  words' $0; exit 7", "x y", check=False)
    assert (done.returncode, done.stdout) == (7, "two  words x y\n")


def test_a_host_that_is_not_there_is_refused_with_those_that_are() -> None:
    done = lab("shell", "host9", check=False)
    assert done.returncode == 1
    assert done.stderr == "relocate: the lab has no host 'host9': it has host0, host1, host2, host3 and client\n"


def test_a_killed_host_and_a_killed_dockerd_are_noticed_and_healed_keeping_their_disks() -> None:
    ping_all()
    lab("shell", "host1", "--", "sh", "-c", "echo kept >/root/kept")
    os.kill(host("host1")["pid"], signal.SIGKILL)
    lab("shell", "host2", "--", "sh", "-c", "kill -9 $(pidof dockerd)")
    untouched = host("host3")["pid"]
    ill = ("host1: not running", "host2: dockerd does not answer")
    problem = until(lambda: status()["problem"], "both to be noticed", lambda said: all(each in said for each in ill))
    assert problem.endswith("heal it with 'relocate lab up'")
    healed()
    assert lab("shell", "host1", "--", "cat", "/root/kept").stdout == "kept\n"
    assert host("host3")["pid"] == untouched


def test_a_missing_bridge_is_noticed_and_hosts_are_put_back_on_it_while_they_run() -> None:
    pids = [entry["pid"] for entry in status()["hosts"]]
    run("ip", "-n", f"relocate-lab-{NAME}", "link", "delete", "fabric")
    assert "the bridge fabric is missing" in status()["problem"]
    healed()
    assert [entry["pid"] for entry in status()["hosts"]] == pids


def test_a_lost_namespace_is_noticed_and_the_lab_rebuilt_in_a_new_one() -> None:
    run("ip", "netns", "delete", f"relocate-lab-{NAME}")
    assert f"the network namespace relocate-lab-{NAME} is missing" in status()["problem"]
    healed()


def test_fewer_hosts_leave_nothing_of_those_that_go() -> None:
    ping_all()
    lab("up", "--hosts", "1")
    assert [entry["name"] for entry in status()["hosts"]] == ["host0", "host1"]
    assert not (STATE / "hosts" / "host2").exists()
    assert not [path for path, _, _ in os.walk("/sys/fs/cgroup") if f"{NAME}/host2" in path]
    lab("up", "--hosts", "3")
    assert status()["problem"] == ""
    ping_all()


def test_two_changes_at_once_are_refused_and_a_half_built_host_is_built_anew() -> None:
    pids = [host(name)["pid"] for name in ("host1", "host2")]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    (STATE / "hosts" / "host2" / "config").unlink()
    with subprocess.Popen(
        [BIN / "relocate", "lab", "up"], env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as first:
        lock = Path(f"/run/lock/relocate-lab-{NAME}.lock")
        until(lambda: lock.read_text() if lock.exists() else "", "the first's lock")
        first.send_signal(signal.SIGSTOP)  # it has its lock for as long as the second looks
        try:
            second = lab("down", check=False)
        finally:
            first.send_signal(signal.SIGCONT)
        first.communicate(timeout=600)
        assert first.returncode == 0
    assert second.returncode == 1
    assert second.stderr.startswith("relocate: the lab is already being changed by 'relocate lab up'")
    assert second.stderr.count("\n") == 1
    assert status()["problem"] == ""
    ping_all()


def test_an_interrupted_up_says_so_and_the_next_one_mends_it_and_makes_no_root_file_system() -> None:
    def roots() -> dict[str, int]:
        return {entry.name: entry.stat().st_mtime_ns for entry in Path("/var/cache/relocate-lab/roots").iterdir()}

    lab("down")
    before = roots()
    with subprocess.Popen(
        [BIN / "relocate", "lab", "up"], env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as first:
        until((STATE / "hosts" / "host2").exists, "a host that is being built")
        first.send_signal(signal.SIGINT)
        _out, err = first.communicate(timeout=300)
    assert first.returncode == 130
    assert err.splitlines()[-1].startswith("relocate: interrupted: 'relocate lab up' continues from here")
    assert not status()["up"]
    lab("up", "--hosts", "3")
    assert before and roots() == before, "the cache is warm"
    assert status()["problem"] == ""
    ping_all()


def test_a_purge_spares_the_cache_that_another_lab_stands_on(tmp_path: Path) -> None:
    users = Path("/var/cache/relocate-lab/users")
    other = users / "relocate-lab-somebody.json"
    other.write_text(json.dumps({"state": "/nowhere", "roots": []}))
    try:
        done = lab("down", "--purge", check=False)
    finally:
        other.unlink()
    assert done.returncode == 1
    assert "other labs stand on it" in done.stderr
    assert list(users.parent.glob("roots/*-*"))
    assert not status()["up"]


def test_without_a_lab_every_command_says_how_to_start_one() -> None:
    lab("down")
    assert lab("status").stdout == "the lab is not up: start it with 'relocate lab up'\n"
    done = lab("shell", "host1", check=False)
    assert (done.returncode, done.stderr) == (1, "relocate: the lab is not up: start it with 'relocate lab up'\n")
    assert "The lab is down" in lab("down").stdout


@pytest.mark.parametrize("number", ["0", "-1", "201", "many"])
def test_a_wrong_number_of_hosts_is_wrong_usage(number: str) -> None:
    assert lab("up", "--hosts", number, check=False).returncode == 2
