# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin through ``ansible-inventory`` and ``ansible-playbook``: exports, refusals, and no templating."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import ROOT
from tests.unit.fleets import lab

BIN = Path(sys.executable).parent


class Sandbox:
    """A directory with an inventory of three hosts, their profiles, and an Ansible configuration of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "ansible.cfg").write_text(
            f"[defaults]\ncollections_path = {ROOT / 'collections'}\ninject_facts_as_vars = False\n"
            f"fact_caching_connection = {home / 'cache'}\nlocal_tmp = {home / 'tmp'}\n"
            "[inventory]\nany_unparsed_is_failed = True\n"
        )
        (home / "hosts.yml").write_text("docker_hosts: {hosts: {host1: , host2: , host3: }}\n")
        self.profiles(lab())
        self.options()

    def profiles(self, profiles: dict[str, Any]) -> None:
        folder = self.home / "profiles"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for host, profile in profiles.items():
            (folder / f"{host}.json").write_text(json.dumps(profile))

    def options(self, **options: Any) -> None:
        document = {"plugin": "relocate.mtd.heterogeneity", "directory": "profiles", **options}
        (self.home / "z.heterogeneity.yml").write_text(yaml.safe_dump(document))

    def run(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inventory = ["-i", str(self.home / "hosts.yml"), "-i", str(self.home / "z.heterogeneity.yml")]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "RELOCATE_"))}
        return subprocess.run(
            [str(BIN / program), *inventory, *arguments],
            cwd=self.home,
            env={**kept, "ANSIBLE_CONFIG": str(self.home / "ansible.cfg"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def list(self, **environment: str) -> dict[str, Any]:
        done = self.run("ansible-inventory", "--list", **environment)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def host(self, name: str) -> dict[str, Any]:
        done = self.run("ansible-inventory", "--host", name)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def refusal(self) -> str:
        done = self.run("ansible-inventory", "--list")
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def test_what_is_exported(sandbox: Sandbox) -> None:
    listed = sandbox.list()
    variables = listed["_meta"]["hostvars"]
    first, third = variables["host1"], variables["host3"]
    assert first["relocate_heterogeneity"] == {"host1": 0.0, "host2": 0.0, "host3": 0.177778}
    assert third["relocate_heterogeneity"] == {"host1": 0.177778, "host2": 0.177778, "host3": 0.0}
    assert first["relocate_terms"]["c"]["host3"] == 0.333333
    assert first["relocate_profile_class"] == variables["host2"]["relocate_profile_class"]
    name = sandbox.host("host1")["relocate_profile_class"]
    assert name.startswith("debian_13_docker26_")
    assert first["relocate_next_hop"] == {
        "beta": 0.0,
        "floor_bits": 1.0,
        "floor_kept": True,
        "hosts": 2,
        "min_entropy_bits": 1.0,
        "shannon_bits": 1.0,
    }
    assert first["relocate_fleet"]["configurations"] == 2
    assert first["relocate_fleet"]["shannon_bits"] == 0.918296
    assert first["relocate_fleet"]["effective_configurations"] == 1.889882
    assert listed["relocate_class_" + name]["hosts"] == ["host1", "host2"]
    assert "relocate_profile" not in first


def test_the_graph_shows_the_classes(sandbox: Sandbox) -> None:
    sandbox.options(class_groups=False, keyed_groups=[{"prefix": "cfg", "key": "relocate_profile_class"}])
    done = sandbox.run("ansible-inventory", "--graph")
    assert "@cfg_debian_13_docker26_" in done.stdout
    assert "@cfg_debian_forky_docker28_" in done.stdout
    assert "relocate_class_" not in done.stdout


def test_strings_from_hosts_are_never_templated(sandbox: Sandbox) -> None:
    canary = sandbox.home / "canary"
    trap = "{{ lookup('ansible.builtin.pipe', 'touch " + str(canary) + "') }}"
    profiles = lab()
    for host in profiles.values():
        host["c"]["kernel"] = trap
        host["n"]["listening"] = [trap]
        host["c"]["distribution"] = trap
    sandbox.profiles(profiles)
    # the same trap as a variable of a YAML inventory, which Ansible does trust
    document = {"docker_hosts": {"hosts": {host: {"relocate_profile": value} for host, value in profiles.items()}}}
    (sandbox.home / "hosts.yml").write_text(yaml.safe_dump(document))
    (sandbox.home / "play.yml").write_text(
        "- hosts: docker_hosts\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.debug: {msg: '{{ copied }} {{ relocate_profile_class }} {{ relocate_terms }}'}\n"
    )
    for source in ("directory", "hostvars"):
        sandbox.options(
            facts_source=source,
            strict=True,
            compose={"copied": "relocate_profile.c.kernel"},
            groups={"trapped": "relocate_profile.c.kernel is match('.*canary')"},
            keyed_groups=[{"prefix": "kernel", "key": "relocate_profile.c.kernel"}],
        )
        variables = sandbox.list()["_meta"]["hostvars"]["host1"]
        # defused, should a file of YAML trust it again, and Ansible's own mark of a string that may not be templated
        assert variables["copied"] in (trap.replace("{{", "{ {"), {"__ansible_unsafe": trap.replace("{{", "{ {")})
        done = sandbox.run("ansible-playbook", "play.yml")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "canary" in done.stdout
        assert not canary.exists(), f"a string of a host was evaluated (facts_source: {source})"


def test_the_canary_can_sing(sandbox: Sandbox) -> None:
    # the test above would pass with a trap that never works: a trusted string of the operator's does fire it
    canary = sandbox.home / "canary"
    sandbox.options(compose={"fired": "lookup('ansible.builtin.pipe', 'touch " + str(canary) + "')"})
    sandbox.list()
    assert canary.exists()


def test_paper_mode_and_given_weights(sandbox: Sandbox) -> None:
    profiles = lab()
    for number, profile in enumerate(profiles.values()):
        profile["scores"] = {"c": 0.1 * number, "n": 0.5, "s": 0.2}
    sandbox.profiles(profiles)
    sandbox.options(mode="paper", weights="given", w_c=0.5, w_n=0.2, w_s=0.3)
    variables = sandbox.list()["_meta"]["hostvars"]
    assert variables["host1"]["relocate_heterogeneity"] == {"host1": 0.0, "host2": 0.05, "host3": 0.1}
    assert variables["host3"]["relocate_heterogeneity"] == {"host1": -0.1, "host2": -0.05, "host3": 0.0}
    assert sandbox.host("host3")["relocate_fleet"]["mode"] == "paper"


def test_vulnerability_reports(sandbox: Sandbox) -> None:
    reports = sandbox.home / "reports"
    reports.mkdir()
    flaw = {"VulnerabilityID": "CVE-1", "Severity": "HIGH"}
    trivy = {"SchemaVersion": 2, "Results": [{"Vulnerabilities": [flaw]}]}
    for host in ("host1", "host2"):
        (reports / f"{host}.json").write_text(json.dumps(trivy))
    sandbox.options(vulnerabilities_dir="reports", weights="given", w_c=0.5, w_v=0.5)
    assert "host3: w_v is 0.5 and the host has no vulnerability report" in sandbox.refusal()
    (reports / "host3.json").write_text(json.dumps({"matches": []}))
    terms = sandbox.list()["_meta"]["hostvars"]["host1"]["relocate_terms"]
    assert terms["v"] == {"host1": 0.0, "host2": 0.0, "host3": 1.0}


def test_missing_profiles_are_refused_or_skipped(sandbox: Sandbox) -> None:
    (sandbox.home / "profiles/host2.json").unlink()
    assert "host2: the fact relocate_profile is missing (facts_source: directory): run playbooks/profile.yml" in (
        sandbox.refusal()
    )
    sandbox.options(missing="skip")
    variables = sandbox.list()["_meta"]["hostvars"]
    assert "relocate_profile_class" not in variables.get("host2", {})
    assert variables["host1"]["relocate_heterogeneity"].keys() == {"host1", "host3"}


def test_an_inventory_that_skips_works_before_the_first_profile_run(sandbox: Sandbox) -> None:
    sandbox.options(missing="skip", directory="nowhere")
    done = sandbox.run("ansible-inventory", "--graph")
    assert done.returncode == 0, done.stderr
    assert "host1, host2, host3: no profile, so not part of the fleet: run playbooks/profile.yml" in (
        " ".join(done.stderr.split())
    )
    sandbox.options(missing="skip", group="nobody")
    assert sandbox.run("ansible-inventory", "--graph").returncode == 0


def test_limit_exports_the_most_different_hosts(sandbox: Sandbox) -> None:
    sandbox.options(limit=1)
    variables = sandbox.list()["_meta"]["hostvars"]
    assert variables["host1"]["relocate_heterogeneity"] == {"host3": 0.177778}
    assert variables["host1"]["relocate_terms"]["n"] == {"host3": 0.0}


def test_the_fact_cache(sandbox: Sandbox) -> None:
    sandbox.options(facts_source="fact_cache")
    assert "the fact cache is the plugin memory, which keeps nothing between runs" in sandbox.refusal()
    (sandbox.home / "facts.yml").write_text(
        "- hosts: docker_hosts\n  gather_facts: false\n  tasks:\n    - ansible.builtin.set_fact:\n"
        "        relocate_profile: \"{{ lookup('ansible.builtin.file', 'profiles/' ~ inventory_hostname ~ '.json')"
        ' | from_json }}"\n        cacheable: true\n'
    )
    sandbox.options(facts_source="directory")
    done = sandbox.run("ansible-playbook", "facts.yml", ANSIBLE_CACHE_PLUGIN="jsonfile")
    assert done.returncode == 0, done.stdout + done.stderr
    sandbox.options(facts_source="fact_cache")
    variables = sandbox.list(ANSIBLE_CACHE_PLUGIN="jsonfile")["_meta"]["hostvars"]
    assert variables["host1"]["relocate_heterogeneity"]["host3"] == 0.177778


def test_the_inventory_cache_is_used_until_options_or_hosts_change(sandbox: Sandbox) -> None:
    cached = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(sandbox.home / "inventory_cache")}
    sandbox.options(**cached)
    before = sandbox.list()
    changed = lab()
    changed["host2"] = changed["host3"]
    sandbox.profiles(changed)
    assert sandbox.list() == before
    sandbox.options(min_entropy_bits=0.5, **cached)
    assert sandbox.list()["_meta"]["hostvars"]["host2"]["relocate_heterogeneity"]["host3"] == 0.0


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"w_x": 1.0}, "w_x: there is no such option; the weights are w_c, w_n, w_s, w_v"),
    ({"wheights": "equal"}, "wheights: there is no such option; see ansible-doc"),
    ({"weights": "given", "w_c": 0.5}, "the weights sum to 0.5 and not to 1"),
    ({"w_c": 1.0}, "w_c is set, but weights is equal: set weights to given"),
    ({"weights": "given", "w_c": float("nan")}, "w_c is nan, not a number"),
    ({"weights": "fitted"}, "host1: w_v is 1 and the host has no vulnerability report"),
    ({"min_entropy_bits": 0}, "min_entropy_bits is 0: it must be above 0"),
    (
        {"group": "web"},
        "the group web has no hosts: name the fleet's group with the option group (there are: docker_hosts)",
    ),
    ({"directory": "nowhere"}, "nowhere' does not exist: run playbooks/profile.yml"),
    ({"vulnerabilities_dir": "nowhere"}, "the directory of vulnerability reports"),
    ({"include": {"c": "{kernel"}}, "include.c: '{kernel' is no JMESPath expression"),
    ({"strict": True, "compose": {"x": "nothing + 1"}}, "Could not set x for host host1"),
]


#: Reads the hosts' file with each of the other sources as ``ansible-inventory`` does, in one process; each is to be refused.
READ = """
import sys
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
for source in sys.argv[2:]:
    try:
        InventoryManager(DataLoader(), [sys.argv[1], source])
    except AnsibleError:
        continue
    sys.exit(f"{source} was not refused")
"""


def test_refusals_name_the_key(sandbox: Sandbox) -> None:
    sources = []
    for number, (options, _) in enumerate(REFUSALS):
        sandbox.options(**options)
        sources.append(sandbox.home / f"{number}.heterogeneity.yml")
        (sandbox.home / "z.heterogeneity.yml").rename(sources[-1])
    command = [sys.executable, "-c", READ, str(sandbox.home / "hosts.yml"), *map(str, sources)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "RELOCATE_"))}
    environment = {**kept, "ANSIBLE_CONFIG": str(sandbox.home / "ansible.cfg")}
    done = subprocess.run(command, cwd=sandbox.home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    told = " ".join(done.stderr.split())
    missing = [message for _, message in REFUSALS if message not in told]
    assert not missing, (missing, told)


def test_facts_that_are_not_numbers_name_the_host_and_the_key(sandbox: Sandbox) -> None:
    profiles = lab()
    profiles["host2"]["scores"] = {"c": float("nan")}
    sandbox.profiles(profiles)
    left_out(sandbox, "host2", "host2.json is no JSON: it holds NaN, which is not a number")
    profiles = lab()
    del profiles["host3"]["c"]["docker"]
    sandbox.profiles(profiles)
    left_out(sandbox, "host3", "host3: it has not the fact c.docker, unlike most hosts")


def left_out(sandbox: Sandbox, host: str, reason: str) -> None:
    """Check that a host is no part of the fleet, that the reason is told, and that the others are part of it."""
    done = sandbox.run("ansible-inventory", "--list")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert reason in " ".join(done.stderr.split()), done.stderr
    variables = json.loads(done.stdout)["_meta"]["hostvars"]
    assert {name for name, known in variables.items() if "relocate_profile_class" in known} == {
        "host1",
        "host2",
        "host3",
    } - {host}


DEEP = "[" * 100_000 + "]" * 100_000
EVIL: dict[str, str] = {
    "no JSON": "{",
    "nothing": "",
    "null": "null",
    "empty": "{}",
    "list": "[]",
    "deep": '{"version": 1, "c": ' + DEEP + "}",
    "version": '{"version": [1]}',
    "no terms": '{"version": 1}',
    "terms": '{"version": 1, "c": 5, "n": null, "s": []}',
}


def changed(term: str, key: str, value: Any) -> str:
    """Return a profile with one fact that is none."""
    profile = lab()["host2"]
    profile[term][key] = value
    return json.dumps(profile)


EVIL |= {
    "digits": changed("c", "cpu_count", 10**400),
    "surrogate": changed("c", "kernel", "\ud800"),
    "escapes": changed("s", "services", [{"a": "\x1b[2J"}]),
    "other kind": changed("c", "kernel", 5),
    "another fact": changed("c", "\x1b[2J\n", "x"),
    "nested": changed("n", "listening", {"a": {"b": []}}),
}


def test_a_host_s_profile_keeps_no_playbook_from_starting(sandbox: Sandbox) -> None:
    """It is left out with one sentence, and the others are compared: recover.yml must start, whatever a host has said."""
    evil = {f"evil{number}": text for number, text in enumerate(EVIL.values())}
    good = {f"good{number}": lab()["host1"] for number in range(2 * len(evil))}  # what most hosts have is what counts
    fleet = {"docker_hosts": {"hosts": dict.fromkeys([*evil, *good])}}
    (sandbox.home / "hosts.yml").write_text(yaml.safe_dump(fleet))
    sandbox.profiles(good)
    for host, text in evil.items():
        (sandbox.home / "profiles" / f"{host}.json").write_text(text)
    done = sandbox.run("ansible-inventory", "--list")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    told = " ".join(done.stderr.split())
    named = {kind: re.search(rf"{host}\b", told) is not None for host, kind in zip(evil, EVIL, strict=True)}
    assert all(named.values()), (named, told)
    variables = json.loads(done.stdout)["_meta"]["hostvars"]
    assert {name for name, known in variables.items() if "relocate_profile_class" in known} == set(good)


def test_a_controller_without_numpy_is_told_so(sandbox: Sandbox) -> None:
    hidden = sandbox.home / "hidden"
    hidden.mkdir()
    (hidden / "numpy.py").write_text("raise ImportError('No module named numpy')\n")
    done = sandbox.run("ansible-inventory", "--list", PYTHONPATH=str(hidden))
    assert "the controller's Python needs numpy and jmespath (No module named numpy): install them" in done.stderr


def test_the_lookup_draws_in_a_playbook(sandbox: Sandbox) -> None:
    (sandbox.home / "play.yml").write_text(
        "- hosts: host1\n  gather_facts: false\n  vars:\n    candidates: [{name: host2}, {name: host3}]\n  tasks:\n"
        "    - ansible.builtin.set_fact:\n"
        "        hop: \"{{ lookup('relocate.mtd.next_hop', inventory_hostname, candidates=candidates,"
        " directory='profiles', container={'name': 'web'}, settings={'min_entropy_bits': 0.2}) }}\"\n"
        "    - ansible.builtin.debug: {msg: 'went to {{ hop.host }} because {{ hop.sentence }}'}\n"
        "    - ansible.builtin.assert: {that: [hop.sentence.startswith(hop.host), hop.distribution.host3 > 0.8]}\n"
        "    - ansible.builtin.debug:\n"
        "        msg: \"{{ lookup('relocate.mtd.next_hop', 'host1', candidates=[], directory='profiles') }}\"\n"
        "      ignore_errors: true\n"
    )
    done = sandbox.run("ansible-playbook", "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "went to host" in done.stdout
    assert "the container has nowhere to go: there is no host but host1" in done.stdout + done.stderr
