# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times Δ on synthetic fleets and the inventory plugin beside ``constructed``; writes build/bench/heterogeneity.json.

Run it alone: ``python tests/bench/bench_heterogeneity.py``. Every fleet is built and measured in a process of its own, so
that the peak memory is its own; the two inventories are measured in turns, in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "collections"))

PACKAGES = 2000
HOSTS = 10_000
CONFIGURATIONS = 200


def profile(random: np.random.Generator, versions: list[list[str]], names: list[str]) -> dict[str, Any]:
    """Return one made-up host: 2 000 of 2 500 packages, each in one of four versions, the newer ones more likely."""
    chosen = np.sort(random.permutation(len(names))[:PACKAGES])
    version = random.choice(4, size=PACKAGES, p=[0.1, 0.2, 0.3, 0.4])
    release = int(random.integers(3))
    return {
        "c": {
            "kernel": f"6.{release}.{random.integers(40)}",
            "distribution": ("debian", "ubuntu", "fedora")[release],
            "architecture": "x86_64",
            "cpu_model": f"cpu{random.integers(6)}",
            "cpu_flags": [f"flag{index}" for index in np.flatnonzero(random.random(120) < 0.8)],
            "docker": f"2{random.integers(6, 10)}.0",
            "runc": f"1.{random.integers(4)}",
            "sysctls": {f"key{index}": str(random.integers(3)) for index in range(20)},
        },
        "n": {
            "subnets": [f"10.{random.integers(20)}.0.0/24"],
            "rack": f"rack{random.integers(40)}",
            "nic_drivers": [f"driver{random.integers(5)}"],
            "firewall": "iptables-nft",
            "listening": [f"tcp/{port}" for port in np.flatnonzero(random.random(200) < 0.1)],
        },
        "s": {
            "packages": {names[index]: versions[index][number] for index, number in zip(chosen, version, strict=True)},
            "services": [f"service{index}" for index in np.flatnonzero(random.random(60) < 0.5)],
            "images": [f"image{index}" for index in np.flatnonzero(random.random(100) < 0.1)],
        },
    }


def fleet_profiles(distinct: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield HOSTS profiles, ``distinct`` of them different; a repeated one is a new mapping with the same contents."""
    random = np.random.default_rng(7)
    names = [f"package-{index}" for index in range(2500)]
    versions = [[f"{index}.{number}-1" for number in range(4)] for index in range(2500)]
    kept = [profile(random, versions, names) for _ in range(distinct)] if distinct < HOSTS else []
    for host in range(HOSTS):
        if kept:
            source = kept[host % distinct]
            yield f"host{host}", {term: {key: _copy(value) for key, value in source[term].items()} for term in source}
        else:
            yield f"host{host}", profile(random, versions, names)


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list)) else value


def best(action: Callable[[], object], times: int) -> float:
    """Return the median of several runs, in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def measure_fleet(distinct: int) -> dict[str, Any]:
    """Measure one fleet in this process."""
    from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import Fleet, Weights

    weights = Weights.equal()
    timed = list(fleet_profiles(distinct)) if distinct < HOSTS else None
    start = time.perf_counter()
    fleet = Fleet(iter(timed) if timed is not None else fleet_profiles(distinct))
    build = time.perf_counter() - start
    assert len(fleet.counts) == distinct
    row = best(lambda: fleet.row("host17", weights), 21)
    start = time.perf_counter()
    matrix = fleet.matrix(weights)
    first = time.perf_counter() - start
    # the matrix and the rows on demand are two code paths: they have to agree
    error = max(
        float(np.abs(matrix[index] - fleet.row(f"host{index}", weights)).max()) for index in range(0, HOSTS, 997)
    )
    assert error < 1e-5, error
    del matrix
    # a machine that has never given these 400 MB to anybody takes a second to do so: the first run is told apart
    seconds = best(lambda: fleet.matrix(weights), 3 if distinct < HOSTS else 1)
    return {
        "hosts": HOSTS,
        "packages": PACKAGES,
        "distinct": distinct,
        "build_seconds": round(build, 3),
        "build_includes_making_the_profiles": timed is None,
        "row_ms": round(row * 1e3, 3),
        "matrix_first_seconds": round(first, 3),
        "matrix_seconds": round(seconds, 3),
        "largest_difference_row_matrix": error,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


INVENTORY_HOSTS = 1000
TURNS = 5


def measure_inventory(folder: Path) -> dict[str, Any]:
    """Parse 1 000 hosts with ``constructed`` and with our plugin, in turns: seconds of whole ``ansible-inventory`` runs.

    ``facts``: both read the same facts from the same fact cache and make the same keyed groups. ``no_facts``: constructed reads
    none at all, while ours reads a directory of profiles, or its own cache of the result.
    """
    hosts = [f"host{index}" for index in range(INVENTORY_HOSTS)]
    profiles = folder / "profiles"
    profiles.mkdir()
    # the key of a fact cache file is the cache plugin's affair: it writes them, in a process with Ansible loaded
    for (_, facts), host in zip(fleet_profiles(CONFIGURATIONS), hosts, strict=False):
        (profiles / f"{host}.json").write_text(json.dumps({"version": 1, **facts}))
    lines = "".join(f"    {host}: {{rack: r{index % 7}}}\n" for index, host in enumerate(hosts))
    (folder / "ansible.cfg").write_text("[defaults]\n")
    (folder / "hosts.yml").write_text(f"docker_hosts:\n  hosts:\n{lines}")
    ours, theirs = "relocate.mtd.heterogeneity", "ansible.builtin.constructed"
    by_fact, by_rack = "relocate_profile.c.distribution", "rack"
    saved = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(folder / "inventory")}
    sources: dict[str, tuple[str, dict[str, Any]]] = {
        "facts_constructed": (theirs, {}),
        "facts_heterogeneity": (ours, {"facts_source": "fact_cache"}),
        "no_facts_constructed": (theirs, {}),
        "no_facts_heterogeneity": (ours, {"directory": "profiles"}),
        "no_facts_heterogeneity_cached": (ours, {"directory": "profiles", **saved}),
    }
    for name, (plugin, options) in sources.items():
        key = by_fact if name.startswith("facts") else by_rack
        document = {"plugin": plugin, **options, "keyed_groups": [{"prefix": "by", "key": key}]}
        (folder / f"{name}.heterogeneity.yml").write_text(json.dumps(document))
    filler = (
        "import json, pathlib, sys\n"
        "from ansible.plugins.loader import cache_loader, init_plugin_loader\n"
        "init_plugin_loader([])\n"
        "cache = cache_loader.get('jsonfile')\n"
        "for path in pathlib.Path(sys.argv[1]).glob('*.json'):\n"
        "    cache.set(path.stem, {'relocate_profile': json.loads(path.read_text())})\n"
    )
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "RELOCATE_"))},
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "facts"),
    }
    subprocess.run([sys.executable, "-c", filler, str(profiles)], check=True, env=environment)
    seconds: dict[str, list[float]] = {name: [] for name in ("hosts_alone", *sources)}
    for turn in range(TURNS + 1):
        for name, spent in seconds.items():
            command = [
                str(Path(sys.executable).parent / "ansible-inventory"),
                "--graph",
                "-i",
                str(folder / "hosts.yml"),
            ]
            if name in sources:
                command += ["-i", str(folder / f"{name}.heterogeneity.yml")]
            cached = {"ANSIBLE_CACHE_PLUGIN": "jsonfile"} if name.startswith("facts") else {}
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**environment, **cached})
            if turn:  # the first turn warms the file cache and fills the inventory cache
                spent.append(time.perf_counter() - start)
    medians = {name: median(spent) for name, spent in seconds.items()}
    return {
        "hosts": INVENTORY_HOSTS,
        "distinct": CONFIGURATIONS,
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "ratio_same_facts": round(medians["facts_heterogeneity"] / medians["facts_constructed"], 2),
        "ratio_parse_only_same_facts": round(
            (medians["facts_heterogeneity"] - medians["hosts_alone"])
            / (medians["facts_constructed"] - medians["hosts_alone"]),
            2,
        ),
        "ratio_constructed_without_facts": round(
            medians["no_facts_heterogeneity"] / medians["no_facts_constructed"], 2
        ),
        "ratio_constructed_without_facts_cached": round(
            medians["no_facts_heterogeneity_cached"] / medians["no_facts_constructed"], 2
        ),
    }


def in_process(*arguments: str) -> dict[str, Any]:
    """Run this file in a fresh process and return what it printed."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ})
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def targets(report: dict[str, Any]) -> dict[str, bool]:
    """Return which of the figures this design asks for were met."""
    few, all_different, inventory = report["fleet_200"], report["fleet_distinct"], report["inventory"]
    return {
        "200 configurations: a row in 5 ms": few["row_ms"] <= 5,
        "200 configurations: the matrix in 1 s": few["matrix_seconds"] <= 1,
        "10 000 distinct hosts: a row in 20 ms": all_different["row_ms"] <= 20,
        "10 000 distinct hosts: the matrix in 15 s": all_different["matrix_seconds"] <= 15,
        "10 000 distinct hosts: within 1.5 GB": all_different["peak_rss_mb"] <= 1500,
        "inventory: at most 1.5 times constructed on the same facts": inventory["ratio_same_facts"] <= 1.5,
    }


def main() -> None:
    """Measure everything, or (in a child process) one fleet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleet", type=int, help="measure one fleet with so many distinct profiles and print JSON")
    parser.add_argument("--inventory", action="store_true", help="measure the inventory plugin alone and print JSON")
    arguments = parser.parse_args()
    if arguments.inventory:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure_inventory(Path(folder)), indent=2))
        return
    if arguments.fleet:
        print(json.dumps(measure_fleet(arguments.fleet)))
        return
    report: dict[str, Any] = {
        # other work on the machine shows in every figure below
        "load_average_at_start": os.getloadavg()[0],
        "fleet_200": in_process("--fleet", str(CONFIGURATIONS)),
        "fleet_distinct": in_process("--fleet", str(HOSTS)),
    }
    with tempfile.TemporaryDirectory() as folder:
        report["inventory"] = measure_inventory(Path(folder))
    report["targets"] = targets(report)
    target = ROOT / "build" / "bench" / "heterogeneity.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
