# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is in anything that a move writes or shows: keys, and what the container has in its memory and environment."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from fleet import BIN, NO_LIMIT, ROOT, Fleet
from outside import SIGN

pytestmark = pytest.mark.lab

#: In every Python that the playbook starts: whatever is handed over with a private key in it is noted, key by key.
PLANT = """
import json, os, re
_dumps = json.dumps
def dumps(*arguments, **options):
    text = _dumps(*arguments, **options)
    for key in re.findall(r"PRIVATE KEY-----.{1,4}?([A-Za-z0-9+/=]{40,})", text):
        with open(os.environ["PLANTED"], "a") as file:
            file.write(key + "\\n")
    return text
json.dumps = dumps
"""
#: On a host, until its file is removed: the command lines and environments of all processes, each once.
WATCH = """
import glob, os
seen = set()
while os.path.exists("/run/watching"):
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        try:
            seen.add(path.encode().rsplit(b"/", 1)[1] + b" " + open(path, "rb").read())
        except OSError:
            pass
open("/root/seen", "wb").write(b"\\n".join(sorted(seen)))
os.rename("/root/seen", "/root/watched")
"""
#: Where programs write. Docker's own record of a container has its environment, of course.
PLACES = "/var/lib/relocate /var/lib/relocate-login /var/log /var/tmp /etc /tmp /home /root /run/relocate /usr/local"


@pytest.mark.parametrize("mode", ["stop-and-copy", "post-copy"])
def test_planted_secrets_are_nowhere(fleet: Fleet, tmp_path: Path, mode: str) -> None:
    """Not on a disk, in a log, a journal, the ledger, a command line, an environment, or what -vvvv shows."""
    (tmp_path / "sitecustomize.py").write_text(PLANT)
    planted, ledger = tmp_path / "planted", tmp_path / "ledger.jsonl"
    mark = "MARK-IN-ENVIRONMENT-AND-MEMORY-5d1f"  # a process has its environment on its stack
    fleet.tenants.append("bearer")
    fleet.on("host1", f"docker run -d --name bearer -e TOKEN={mark} 10.77.0.10:5000/idle:1")
    hosts = ("host0", "host1", "host2")
    for host in hosts:
        fleet.on(
            host, "cat >/run/watch.py; touch /run/watching; setsid python3 /run/watch.py >/dev/null 2>&1 &", data=WATCH
        )
    extra = {"container": "bearer", "destination": "host2", "mode": mode, "relocate_downtime_limit_ms": NO_LIMIT}
    environment = {"PYTHONPATH": str(tmp_path), "PLANTED": str(planted), "RELOCATE_LEDGER": str(ledger)}
    done = fleet.run(
        "ansible-playbook",
        "-vvvv",
        "-i",
        "inventories/lab",
        "playbooks/relocate.yml",
        "-e",
        json.dumps(extra),
        **environment,
    )
    assert fleet.where("bearer") == ["host2"]
    pid = fleet.on("host2", "docker inspect -f '{{.State.Pid}}' bearer")
    assert mark in fleet.on("host2", f"tr '\\0' '\\n' </proc/{pid}/environ"), "it went along"

    keys = sorted(set(planted.read_text().split()))
    assert len(keys) == 3, "one key for each part"
    secrets = [*(key[-40:] for key in keys), mark]
    shown = {"the output": done.stdout + done.stderr, "the ledger": ledger.read_text()}
    assert re.search("relocate-request|Pipelining is enabled", shown["the output"]), "-vvvv shows what is done on hosts"
    for host in hosts:
        fleet.on(host, "rm /run/watching /run/watch.py")
        fleet.await_on(host, "[ -e /root/watched ]", "what the watch has seen")
        watched = fleet.on(host, "cat /root/watched; rm /root/watched")
        assert "relocate_proxy" in watched, f"{host}: the watch saw a part"
        own = [line for line in watched.split("\n") if "TOKEN=" not in line]
        shown[f"{host}: processes"] = "\n".join(own)  # the container's own are no matter of a move
        words = " ".join(f"-e {secret}" for secret in secrets)
        shown[f"{host}: files"] = fleet.on(host, f"grep -rlaF {words} {PLACES} 2>/dev/null", check=False)
        assert shown[f"{host}: files"] == "", host
    found = [(place, secret) for place, text in shown.items() for secret in secrets if secret in text]
    assert not found


def test_a_watch_that_sees_nothing_would_fail(fleet: Fleet) -> None:
    """The same search finds a key that lies about."""
    fleet.on("host1", "echo MARK-THAT-LIES-ABOUT >/var/log/left-about")
    try:
        assert (
            fleet.on("host1", f"grep -rlaF -e MARK-THAT-LIES-ABOUT {PLACES} 2>/dev/null", check=False)
            == "/var/log/left-about"
        )
    finally:
        fleet.on("host1", "rm /var/log/left-about")


def test_images_lie_where_nothing_is_swapped_out_and_are_gone_afterwards(fleet: Fleet) -> None:
    """Private to root, in a tmpfs with noswap or in a ramfs; the parts themselves stay in memory, too."""
    fleet.tenant("heavy", "counter", "host1", "7630 32", 7630)
    order = {"part": "destination", "state": "prepared", "moment": "before", "do": "pause", "seconds": 60}
    fleet.on("host2", "umask 077; cat >/run/relocate/faults.json", data=json.dumps(order))
    command = [
        BIN / "relocate",
        "move",
        "heavy",
        "--to",
        "host2",
        "--downtime-limit",
        NO_LIMIT,
        "--json",
        "-i",
        "inventories/lab",
    ]
    moving = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    fleet.await_on("host2", f"[ -e {SIGN} ]", "a copy that is about to be prepared")
    assert fleet.on("host2", "find /run/relocate/sessions -name 'core-*.img'")
    for host in ("host1", "host2"):
        mount = fleet.on(host, "grep ' /run/relocate/sessions ' /proc/self/mountinfo | tail -1")
        assert "noswap" in mount or " - ramfs " in mount, mount
        modes = fleet.on(host, "stat -c %a:%U /run/relocate/sessions /run/relocate/sessions/*").split()
        assert len(modes) >= 2 and set(modes) == {"700:root"}  # another move's may be about to go
        locked = fleet.on(
            host, "grep -h VmLck $(pgrep -f '[r]elocate_proxy (source|destination)' | sed 's,.*,/proc/&/status,')"
        )
        assert locked
        assert all(int(line.split()[1]) > 0 for line in locked.splitlines()), locked
    fleet.on("host2", f"rm {SIGN}")
    out, _ = moving.communicate(timeout=300)
    assert json.loads(out)["outcome"] in ("committed", "rolled-back")
    for host in ("host1", "host2"):
        fleet.await_on(host, '[ -z "$(ls -A /run/relocate/sessions)" ]', "no session")
