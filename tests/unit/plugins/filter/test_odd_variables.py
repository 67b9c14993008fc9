# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every variable of an inventory, option of a role and request of a playbook with every bad value: one sentence that names it.

Which there are, the files say: the roles' specifications, the variables named in playbooks, roles and inventories, and what the
playbooks' heads tell their users to ask for. A new one without a form fails. The numbers are printed (pytest -s).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.relocate.mtd.plugins.filter.odd_variables import FORMS, odd_variables
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.variables import INVENTORY, REQUEST, ROLES

from tests.paths import ROOT
from tests.unit.bad_values import NUMBERS, OTHERS, TEXTS, harmless

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
BY_PLAYBOOKS = "a playbook's own: set in it, or by a module that it runs"
BY_INVENTORIES = "set by an inventory's program, from what has been looked at"
#: Names that nobody sets, and why they are not looked at.
LEFT = {
    **dict.fromkeys(("relocate_result", "relocate_edge", "relocate_asked"), BY_PLAYBOOKS),
    **dict.fromkeys(("relocate_profiles_state", "relocate_profiles_directory"), BY_PLAYBOOKS),
    **dict.fromkeys(("relocate_profile", "relocate_inventory_problem"), BY_INVENTORIES),
    "relocate_proxy": "a program's name",
}
#: Text that is somebody's own, and text that people read or that names a file on the controller.
OWN = {"command", "relocate_policy", "scheduler_configuration", "lab_tenants", "relocation_alert"}
REMARKS = {
    *(
        "relocate_rack",
        "relocate_switch",
        "relocate_user_key_file",
        "reason",
        "relocate_snapshot_store",
        "relocate_snapshot_key",
        "tenant",
        "lab_mirror",
    ),
    *("scheduler_environment", "scheduler_packages", "scheduler_inventory"),
    *("proxy_program_collection", "proxy_program_cache", "restricted_login_collection"),
}


def texts(*patterns: str) -> dict[Path, str]:
    """Return the content of files."""
    return {path: path.read_text(encoding="utf-8") for pattern in patterns for path in sorted(ROOT.glob(pattern))}


# -- all of them --------------------------------------------------------------------------------------------------------


def test_every_option_of_a_role_has_a_form() -> None:
    """The roles' specifications, all their entry points."""
    options: set[str] = set()
    for text in texts("roles/*/meta/argument_specs.yml").values():
        for entry in yaml.safe_load(text)["argument_specs"].values():
            options |= set(entry["options"])
    assert len(options) > 60
    assert sorted(options - set(ROLES) - set(INVENTORY)) == []
    assert sorted(set(ROLES) - options) == []


def test_every_variable_that_is_read_has_a_form() -> None:
    """Names in playbooks, roles and inventories."""
    files = texts("playbooks/**/*.yml", "roles/*/[dtm]*/*.yml", "roles/*/templates/*", "inventories/*/**/*.yml")
    named = {name for text in files.values() for name in re.findall(r"\brelocate_[a-z0-9_]+\b", text)}
    assert sorted(named - set(INVENTORY) - set(LEFT)) == [], (
        "give it a form in _trust/variables.py, or say in LEFT why not"
    )
    assert sorted(set(LEFT) - named) == []
    plugins = "".join(
        texts("collections/ansible_collections/relocate/mtd/plugins/**/*.py", "inventories/lab/lab.py").values()
    )
    read = set(re.findall(r"get\(\s*\"(relocate_[a-z0-9_]+)\"", plugins))
    assert {"relocate_fabric_address", "relocate_user"} <= read
    assert sorted(read - set(INVENTORY) - set(LEFT)) == []
    assert sorted(set(INVENTORY) - named - read) == []


def checks(playbook: Path) -> list[str] | None:
    """Return what a playbook has checked of its request in its first play; None if it has nothing checked."""
    first = yaml.safe_load(playbook.read_text(encoding="utf-8"))[0]
    if "ansible.builtin.import_playbook" in first:
        return checks(playbook.parent / first["ansible.builtin.import_playbook"])
    assert first["hosts"] == "localhost", playbook
    tasks = first["tasks"]
    if playbook.name == "lab_images.yml":
        return []
    asked: list[str] = []
    for _ in range(4):
        for task in tasks:
            included = task.get("ansible.builtin.include_tasks")
            if included:
                break
            if not set(task) & {"ansible.builtin.assert"}:
                return None
        else:
            return None
        asked += task.get("vars", {}).get("variables_asked", [])
        if included.endswith("variables.yml"):
            return asked
        tasks = yaml.safe_load((ROOT / "playbooks/tasks" / Path(included).name).read_text(encoding="utf-8"))
    return None


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=[path.stem for path in PLAYBOOKS])
def test_every_playbook_looks_at_its_variables_before_all_else(playbook: Path) -> None:
    """And at what its head says one may ask it for."""
    asked = checks(playbook)
    assert asked is not None
    head = playbook.read_text(encoding="utf-8").partition("---")[0]
    told = set(re.findall(r"-e '?\"?\{?\"?([a-z_]+)[=\"]", head)) - set(INVENTORY) - set(ROLES)
    assert told <= set(asked), playbook
    assert set(asked) <= set(REQUEST)


# -- bad values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({**FORMS, **REQUEST}))
def test_every_variable_with_every_bad_value(name: str) -> None:
    counts: Counter[str] = Counter()
    for value in [*TEXTS, *NUMBERS, *OTHERS]:
        for given in (value, [value], {"same": [value]}, {name: value}):
            found = odd_variables({"localhost": {name: given}}, ["localhost"], [name] if name in REQUEST else [])
            what = f"{name} {str(given)[:60]!r}: {found}"
            if not found:
                counts["good after all"] += 1
                assert harmless(given, name in OWN, name in REMARKS), what
                continue
            counts["refused"] += 1
            assert len(found) == 1 and found[0].startswith(f"{name} of ") and found[0].isprintable(), what
            assert len(found[0]) < 600, what
    assert counts["refused"] > 100
    print(f"\n{name}: {sum(counts.values())} tried; {dict(counts)}")


class Torn(dict[str, Any]):
    """Variables of which one is a template that cannot be resolved."""

    def __getitem__(self, name: str) -> Any:
        raise ValueError("'nope' is undefined\n  on line 3")


def test_a_variable_that_cannot_be_read_is_named() -> None:
    assert odd_variables({"a": Torn(relocate_user="")}, ["a"]) == [
        "relocate_user of a cannot be read: 'nope' is undefined on line 3"
    ]


#: A name, a word, a number or an address is a name that a host may have.
NAMES = ("x", "0", "030", "1:30", "null", "true", "inf", "nan", "1e400", "2026-13-45", "9999-12-31", "sqlite:")


@pytest.mark.parametrize("host", [each for each in TEXTS if each not in NAMES])
def test_a_host_whose_name_is_none(host: str) -> None:
    (said,) = odd_variables({host: {"relocate_user": "\0"}}, [host])
    assert said.startswith("the inventory's host ") and said.isprintable() and len(said) < 300


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("relocate_host_index", "3"),
        ("relocate_virtual_addresses", ["198.51.100.100/24"]),
        ("relocate_policy", {"policy": "softmax", "min_entropy_bits": 0.5, "exclude": {"s": "['images']"}}),
        ("relocate_user_keys", ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7n7 controller of the fleet"]),
        ("relocate_repository", "registry.example.org:5000"),
        ("edge_advert_seconds", "0.3"),
        ("gone", "alpha,beta"),
        ("publish", "198.51.100.100:80:8080:80/tcp, 198.51.100.100:81:81"),
        ("sensitive", "yes"),
        ("relocate_edge_gateway_address", ""),
    ],
)
def test_what_is_right_passes(name: str, value: Any) -> None:
    assert odd_variables({"localhost": {name: value}}, ["localhost"], [name] if name in REQUEST else []) == []


def test_the_examples_are_right() -> None:
    """The inventories that people copy, and the lab's, and the roles' own defaults."""
    for path, text in texts("inventories/*/group_vars/*.yml", "roles/*/defaults/main.yml").items():
        variables = {name: value for name, value in yaml.safe_load(text).items() if "{{" not in str(value)}
        assert odd_variables({"a": variables}, ["a"]) == [], path


def test_a_playbook_says_it_and_asks_no_host(tmp_path: Path) -> None:
    """Once with Ansible itself: the sentence, and no play after the first."""
    hosts: dict[str, dict[str, Any]] = {
        "alpha": {"relocate_fabric_address": "192.0.2.1\x1b[31m", "ansible_connection": "nowhere"},
        "beta": {
            "relocate_docker0_prefix": 99,
            "relocate_user": "{{ nope }}",
            "relocate_binds": {"same": ["{{ nope }}"]},
            "ansible_connection": "nowhere",
        },
    }
    hosts["beta"]["relocate_binds"] = {"same": ["{{ nope }}"]}
    edge = {"gate": {"relocate_virtual_addresses": ["{{ 'x' * 100000 }}"], "ansible_connection": "nowhere"}}
    groups = {"docker_hosts": {"hosts": hosts}, "edge": {"hosts": edge}, "image_repository": {"hosts": edge}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(groups))
    asked = ["-e", "container=web", "-e", "mode=warp"]
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", tmp_path / "hosts.yml", "playbooks/relocate.yml", *asked],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    said = re.search(r'"msg": "([^\n]*)"', done.stdout)
    assert said and re.match(r"relocate_\w+ of (alpha|beta|gate): .* is no .* \(and 5 more\)$", said[1]), done.stdout[
        -2000:
    ]
    assert done.stdout.count("PLAY [") == 1
    assert "Traceback" not in done.stdout + done.stderr and "\x1b[31m" not in done.stdout + done.stderr
