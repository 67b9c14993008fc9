# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does a host hold at this moment? Everything that must not grow, however many containers have come and gone.

``python3 -``, as root on a host; prints one JSON object, name → number. Standard library only: it is sent to the host as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

RUN, JOURNALS = Path("/run/relocate"), Path("/var/lib/relocate/journal")
#: Programs whose memory and descriptors are told, each by its own name.
SHIM = "containerd-shim"
DAEMONS = ("dockerd", "containerd", SHIM)
#: What is counted in a directory: the name of the number → the directory.
COUNTED = {
    "sessions": RUN / "sessions",
    "gates": RUN / "gates",
    "restores expected": RUN / "expected",
    "locks of parts": RUN / "parts",
    "results not fetched": RUN / "results",
    "journals and logs": JOURNALS,
    "containers": Path("/var/lib/docker/containers"),
    "layers": Path("/var/lib/docker/overlay2"),
    "files in /tmp": Path("/tmp"),
    "Ansible's directories": Path("/root/.ansible/tmp"),
}
#: Disk that is taken, in KiB: the name of the number → the directories.
TAKEN = {
    "KiB of Docker": ("/var/lib/docker",),
    "KiB of logs": ("/var/log",),
    "KiB of journals": (str(JOURNALS),),
    "KiB of /run": ("/run",),
}


def processes() -> dict[str, int]:
    """Return how many processes, threads and zombies there are, and what the daemons and the proxies take.

    A shim comes and goes with its container: of these it is how many there are, and what one takes on the average.
    """
    counted = ("processes", "threads", "zombies", "proxies", "KiB of proxies", "shims")
    found: Counter[str] = Counter(dict.fromkeys(counted, 0))
    for daemon in DAEMONS:
        found[f"KiB of {daemon}"] = found[f"descriptors of {daemon}"] = 0
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
            command = (place / "cmdline").read_bytes()
            descriptors = len(list((place / "fd").iterdir()))
        except OSError:
            continue
        found["processes"] += 1
        found["threads"] += int(status.get("Threads", "0"))
        found["zombies"] += status["State"].split()[0] == "Z"
        memory = int(status.get("VmRSS", "0").split()[0])
        name = next((each for each in reversed(DAEMONS) if status["Name"].strip().startswith(each[:15])), "")
        if name:
            found[f"KiB of {name}"] += memory
            found[f"descriptors of {name}"] += descriptors
            found["shims"] += name == SHIM
        elif b"relocate_proxy" in command:
            found["proxies"] += 1
            found["KiB of proxies"] += memory
    for what in ("KiB", "descriptors"):
        of_all = found.pop(f"{what} of {SHIM}")
        if found["shims"]:
            found[f"{what} of a {SHIM}"] = of_all // found["shims"]
    return dict(found)


def kibibytes(*directories: str) -> int:
    """Return what the files in directories take."""
    there = [each for each in directories if Path(each).is_dir()]
    said = subprocess.run(["du", "-skxc", *there], capture_output=True, text=True, check=False).stdout if there else ""
    return int(said.split()[-2]) if said else 0


def network() -> dict[str, int]:
    """Return how many entries, rules, elements and links there are."""
    count = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False).stdout
    links = list(Path("/sys/class/net").iterdir())
    return {
        "connections tracked": int(count.read_text()) if count.exists() else 0,
        "nft rules and elements": len(rules.replace(",", "\n").splitlines()),
        "veths": sum(link.name.startswith("veth") for link in links),
        "links": len(links),
    }


def mounts() -> dict[str, int]:
    """Return how many mounts there are, and how many of them are Docker's network namespaces.

    The directory of those has more names: for each container that a killed dockerd finds again it leaves one behind, an empty
    file. Plain Docker does so too (26.1.5 with ``live-restore``: 18 names of six kills, no mount).
    """
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {"mounts": len(places), "namespaces": sum(place.startswith("/run/docker/netns/") for place in places)}


def main() -> None:
    """Print what there is."""
    found = {name: len(list(place.iterdir())) if place.is_dir() else 0 for name, place in COUNTED.items()}
    found |= mounts()
    found |= {name: kibibytes(*directories) for name, directories in TAKEN.items()}
    print(json.dumps({**found, **processes(), **network()}))


if __name__ == "__main__":
    main()
