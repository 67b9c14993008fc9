# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role scheduler, applied for real where nothing of it stays: /etc, /opt and /var/lib are copies in a mount namespace.

systemd does not run there, so the unit is verified by systemd's own tool and not started.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.kernel
BIN = Path(sys.executable).parent

SCRIPT = """
set -eu
for directory in etc opt var/lib; do
    mkdir -p "$1/$directory"
done
cp -a /etc/. "$1/etc/"
rm -rf "$1/etc/relocate"
for directory in etc opt var/lib; do
    mount --bind "$1/$directory" "/$directory"
done
run() { echo "== $1"; shift; ansible-playbook -i "$place/hosts.json" playbooks/scheduler.yml "$@" || true; }
place=$1
run check --check
run apply
run again
echo "== state"
stat -c '%n %a %U' /etc/relocate/* /var/lib/relocate-scheduler /var/lib/relocate-scheduler/.ssh/id_ed25519
cat /etc/relocate/schedule.yml
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify /etc/systemd/system/relocate-scheduler.service && echo verified
fi
cp /etc/systemd/system/relocate-scheduler.service "$place/unit"
run absent -e scheduler_state=absent -e scheduler_purge=true
echo "== left"
ls -d /etc/relocate/* /var/lib/relocate-scheduler /etc/systemd/system/relocate-scheduler.service 2>/dev/null || true
"""


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], str]:
    """Apply the role several times; gives what each run said, and the unit."""
    place = tmp_path_factory.mktemp("role")
    variables = {
        "scheduler_project": str(ROOT),
        "scheduler_install": False,
        "scheduler_command": str(BIN / "relocate"),
        "scheduler_configuration": {"clock": {"kind": "truncated-poisson", "rate": 0.01, "ceiling": 300}},
        "scheduler_environment": {"RELOCATE_AWX_TOKEN": "hush-hush"},
    }
    host = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3", **variables}
    (place / "hosts.json").write_text(json.dumps({"scheduler": {"hosts": {"machine": host}}}))
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [shutil.which("unshare") or "unshare", "--mount", "sh", "-c", SCRIPT, "sh", str(place)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    parts = re.split(r"^== (\w+)\n", ended.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)), (place / "unit").read_text()


def changed(said: str) -> int:
    """Return how many tasks changed the machine."""
    found = re.search(r"^machine +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", said, re.MULTILINE)
    assert found, said
    return int(found[1])


def test_check_mode_tells_the_truth_and_the_second_run_changes_nothing(applied: tuple[dict[str, str], str]) -> None:
    """As many tasks would change something as then do."""
    said, _ = applied
    assert changed(said["check"]) == changed(said["apply"]) > 0
    assert changed(said["again"]) == 0


def test_what_is_there_then(applied: tuple[dict[str, str], str]) -> None:
    """Files for those who need them, a configuration that the command reads, a unit that systemd does."""
    said, unit = applied
    modes = dict(line.rsplit(" ", 2)[0::2] for line in said["state"].splitlines() if line.startswith("/"))
    assert modes["/etc/relocate/schedule.env"] == "root" and modes["/var/lib/relocate-scheduler"] == "relocate"
    assert "/etc/relocate/schedule.env 600 root" in said["state"]
    assert "/etc/relocate/schedule.yml 640 root" in said["state"]
    assert "/var/lib/relocate-scheduler 700 relocate" in said["state"]
    assert "/var/lib/relocate-scheduler/.ssh/id_ed25519 600 relocate" in said["state"]
    assert "kind: truncated-poisson" in said["state"] and "listen: 127.0.0.1:9469" in said["state"]
    assert "hush-hush" not in unit and "hush-hush" not in "".join(said.values())
    if shutil.which("systemd-analyze"):
        assert "verified" in said["state"]


def test_the_unit_is_closed(applied: tuple[dict[str, str], str]) -> None:
    """What keeps a fault of the service from becoming one of the machine; and SIGTERM goes to the service alone."""
    _, unit = applied
    for line in (
        "User=relocate",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "CapabilityBoundingSet=",
        "StateDirectory=relocate-scheduler",
        "KillMode=mixed",
        "TimeoutStopSec=330",
    ):
        assert line in unit.splitlines(), line


def test_nothing_is_left(applied: tuple[dict[str, str], str]) -> None:
    """Account, home, configuration and unit go."""
    said, _ = applied
    assert changed(said["absent"]) > 0 and said["left"].strip() == ""
