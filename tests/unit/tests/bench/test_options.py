# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench makes of its command line, and of runc's own specification."""

from __future__ import annotations

import bench_cutover
import pytest
from cutover.ours import pause_phases
from cutover.runc_bundle import NETWORK, bundle


def test_twenty_hops_of_what_is_compared_at_8_mib() -> None:
    wanted = bench_cutover.wanted_hops(bench_cutover.parse([]))
    assert list(wanted) == [8, 64, 256, 1024]
    compared = ("docker", "runc", "criu-floor", "stop-and-copy", "post-copy", "pre-copy")
    assert all(wanted[8][name] >= 20 for name in compared)
    assert "rollback" not in wanted[1024]


def test_hops_sizes_and_pipelines_can_be_chosen() -> None:
    words = ["--hops", "2", "--sizes", "8,100", "--pipelines", "runc,rollback"]
    assert bench_cutover.wanted_hops(bench_cutover.parse(words)) == {8: {"runc": 2, "rollback": 2}, 100: {"runc": 2}}


@pytest.mark.parametrize("words", [["--pipelines", "lxc"], ["--sizes", "0"], ["--sizes", "large"], ["--hops", "0"]])
def test_a_wrong_word_is_a_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench_cutover.parse(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_bundle_joins_the_prepared_network() -> None:
    spec = {
        "process": {"args": ["sh"], "terminal": True, "rlimits": [{"type": "RLIMIT_NOFILE"}], "cwd": "/"},
        "root": {"path": "rootfs", "readonly": True},
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}], "maskedPaths": ["/proc/kcore"]},
    }
    made = bundle(spec, 8)
    assert made["process"] == {"args": ["/counter", "7103", "8"], "terminal": False, "cwd": "/"}
    assert made["root"] == {"path": "rootfs", "readonly": False}
    assert made["linux"]["namespaces"] == [{"type": "pid"}, {"type": "network", "path": f"/run/netns/{NETWORK}"}]
    assert made["linux"]["maskedPaths"] == ["/proc/kcore"]
    assert spec["process"]["terminal"], "what was given is left alone"


def test_only_phases_of_the_pause_are_counted() -> None:
    timings = {
        "stage": 9_000_000,
        "held_total": 5_000_000,
        "freeze": 500_000,
        "dump": 2_000_000,
        "drain": None,
        "commit": 0,
    }
    assert pause_phases(timings) == {"freeze": 0.5, "dump": 2.0}
