# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate fleet``: its tables, pictures, page and JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from relocate.commands import fleet as command
from relocate.errors import Refusal
from relocate.fleet import heatmap, page
from relocate.fleet.clusters import cluster_order
from relocate.fleet.report import SHOWN, Question, answer, place_of
from tests.unit.fleets import lab

HOSTILE = "<script>alert(1)</script>[red]"


def write(directory: Path, profiles: dict[str, Any]) -> Path:
    directory.mkdir(exist_ok=True)
    for host, profile in profiles.items():
        (directory / f"{host}.json").write_text(json.dumps(profile))
    return directory


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    return write(tmp_path / "profiles", lab())


def run(*arguments: str) -> str:
    app = typer.Typer()
    command.register(app)
    done = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "160"})
    assert done.exit_code == 0
    return done.output


def test_the_tables(profiles: Path) -> None:
    text = run("--profiles", str(profiles), "--from", "host1", "--floor", "0.5")
    assert "3 hosts, 2 configurations (1.89 effective, 0.92 bits), hop chain" in text
    assert "host1, host2" in text
    # min-entropy 0.5 bits: the different host gets 2^-0.5
    assert "host3              70.7%  0.178  0.33  0.00  0.20" in text
    assert "host2              29.3%  0.000  0.00  0.00  0.00" in text


INVENTORY = """
all:
  vars:
    relocate_policy: {policy}
  children:
    docker_hosts:
      hosts: {{host1: , host2: , host3: }}
"""


def test_the_inventorys_policy_counts(profiles: Path, tmp_path: Path) -> None:
    """What relocations draw with is what is shown; an option has the last word."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY.format(policy="{min_entropy_bits: 0.5, weights: {w_c: 1, w_n: 0, w_s: 0}}"))
    options = ("--profiles", str(profiles), "--inventory", str(inventory), "--from", "host1", "--json")
    shown = json.loads(run(*options))
    assert shown["fleet"]["weights"] == {"w_c": 1.0, "w_n": 0.0, "w_s": 0.0, "w_v": 0.0}
    assert [round(row["probability"], 3) for row in shown["next_hop"]["destinations"]] == [0.707, 0.293]
    assert json.loads(run(*options, "--floor", "0.9", "--weights", "equal"))["fleet"]["weights"]["w_n"] > 0


def test_a_policy_that_is_wrong_is_named(profiles: Path, tmp_path: Path) -> None:
    """One that nobody set, and an inventory that cannot be read, change nothing."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY.format(policy="{floor: 0.5}"))
    with pytest.raises(Refusal, match=r"relocate_policy of the inventory .*hosts.yml: floor: there is no such setting"):
        run("--profiles", str(profiles), "--inventory", str(inventory))
    inventory.write_text(INVENTORY.format(policy="{}"))
    plain = run("--profiles", str(profiles))
    assert run("--profiles", str(profiles), "--inventory", str(inventory)) == plain
    with pytest.raises(Refusal, match="there is no inventory /nowhere"):
        run("--profiles", str(profiles), "--inventory", "/nowhere")


def test_json_is_one_document(profiles: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text('{"container": "web", "outcome": "committed", "destination": {"host": "host3"}}\n')
    document = json.loads(run("--profiles", str(profiles), "--json", "--from", "host3", "--container", "web"))
    assert document["fleet"]["configurations"] == 2
    assert [entry["hosts"] for entry in document["classes"]] == [["host1", "host2"], ["host3"]]
    order = document["delta"]["hosts"]
    assert document["delta"]["rows"][order.index("host1")][order.index("host3")] == 0.177778
    assert document["next_hop"]["source"] == "host3"
    assert [row["probability"] for row in document["next_hop"]["destinations"]] == [0.5, 0.5]
    assert place_of("web", ledger) == "host3"


def test_the_ledger_says_where_a_container_is(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    entries = [
        {"container": "web", "outcome": "committed", "destination": {"host": "host2"}},
        {"container": "web", "outcome": "rolled-back", "destination": {"host": "host3"}},
        {"container": "db", "outcome": "committed", "destination": "host1"},
    ]
    ledger.write_text("not JSON\n[]\n" + "\n".join(json.dumps(entry) for entry in entries) + "\n")
    assert place_of("web", ledger) == "host2"
    assert place_of("db", ledger) == "host1"
    with pytest.raises(Refusal, match="has no relocation of cache: name its host with --from"):
        place_of("cache", ledger)
    with pytest.raises(Refusal, match=r"cannot be read \(No such file or directory\): name the container's host"):
        place_of("web", tmp_path / "nothing")


def test_pictures_and_page(tmp_path: Path) -> None:
    hosts = lab()
    hosts["host1"]["c"]["distribution"] = HOSTILE
    hosts[HOSTILE.replace("/", "")] = hosts.pop("host2")
    report = answer(Question(profiles=write(tmp_path / "profiles", hosts)))
    heatmap.draw(report, tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")
    page.write(report, tmp_path / "fleet.html", report.expected("host3"), HOSTILE)
    html = (tmp_path / "fleet.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;script&gt;[red]" in html
    assert "Next hop of &lt;script&gt;" in html
    assert '<td class="n">50.0%</td>' in html
    assert "host3 → host1: Δ 0.233 (C 0.50, N 0.00, S 0.20)" in html
    with pytest.raises(Refusal, match="choose one of these endings"):
        heatmap.draw(report, tmp_path / "heat.txt")


def test_a_large_fleet_is_shown_by_its_configurations(tmp_path: Path) -> None:
    hosts = {}
    for number in range(SHOWN + 40):
        profile = lab()["host1"]
        profile["n"]["listening"] = [f"tcp/{1 + number % (SHOWN + 20)}"]
        hosts[f"h{number:03}"] = profile
    report = answer(Question(profiles=write(tmp_path / "profiles", hosts)))
    assert len(report.shown) == SHOWN
    assert report.summary["configurations"] == SHOWN + 20
    heatmap.draw(report, tmp_path / "heat.png")
    # too many for a table of cells: the page carries the picture
    assert "data:image/png;base64," in page.render(report)


def test_hosts_of_a_cluster_stand_together() -> None:
    random = np.random.default_rng(4)
    label = random.permutation(np.repeat(np.arange(4), 5))
    distance = np.where(label[:, None] == label[None, :], 0.1, 0.8) + random.random((20, 20)) * 0.05
    ordered = label[cluster_order(distance)]
    assert int((np.diff(ordered) != 0).sum()) == 3


def test_the_ends_of_clusters_touch_where_they_are_nearest() -> None:
    points = np.array([0.0, 10.0, 1.0, 9.0, 2.0])
    order = cluster_order(np.abs(points[:, None] - points[None, :]))
    assert points[order].tolist() in ([0.0, 1.0, 2.0, 9.0, 10.0], [10.0, 9.0, 2.0, 1.0, 0.0])
    assert cluster_order(np.zeros((0, 0))) == []
    with pytest.raises(ValueError, match="square and finite"):
        cluster_order([[0.0, 1.0]])


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["--mode", "best"], "--mode is 'best': use one of hardened, paper", 2),
        (["--weights", "best"], "--weights is 'best': use equal, fitted, or numbers", 2),
        (["--weights", "c=0.5"], r"the weights sum to 0\.5", 1),
        (["--weights", "fitted"], "host1: w_v is 1 and the host has no vulnerability report", 1),
        (["--floor", "0"], "--floor is 0: it must be above 0", 2),
        (["--beta", "-1"], "--beta is -1: it must be a number that is not negative", 2),
        (["--exclude", "images"], "--exclude is 'images': write it as TERM=EXPRESSION", 2),
        (["--exclude", "s=["], r"exclude\.s: '\[' is no JMESPath expression", 2),
        (["--from", "host9"], "host9 has no profile: run 'relocate fleet --refresh', or name one of host1, host2", 1),
        (["--plot", "heat.doc"], "its name must end in one of", 2),
    ],
)
def test_refusals(profiles: Path, arguments: list[str], message: str, status: int) -> None:
    with pytest.raises(Refusal, match=message) as caught:
        run("--profiles", str(profiles), *arguments)
    assert caught.value.status == status


def test_no_profiles_yet(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="there are no profiles in"):
        run("--profiles", str(write(tmp_path / "empty", {})))
    with pytest.raises(Refusal, match=r"the directory of profiles .* does not exist"):
        run("--profiles", str(tmp_path / "nowhere"))
