# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a login without root may ask for, and what a thief of its key cannot."""

from __future__ import annotations

import copy
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.relocate.mtd.plugins.module_utils._edge_table import Service
from ansible_collections.relocate.mtd.plugins.modules import relocation_session
from relocate_proxy import request
from relocate_proxy.request import Border, Forbidden

from tests.paths import COLLECTION, PROXY

ROLE = Path(__file__).parents[3] / "roles/proxy_program/files/pack.py"
SETTINGS = {"address": "10.0.0.11", "addresses": ["10.0.0.10", "10.0.0.12"], "repository": "10.0.0.10:5000"}
PUBLISHED = [
    Service("web", "tcp", "10.9.0.1", 80, "10.0.0.11", 8080),
    Service("db", "tcp", "10.9.0.1", 81, "10.0.0.11", 9),
]
CREDENTIALS = {"authority": "a", "certificate": "c", "key": "k"}
PLAN: dict[str, Any] = {
    "id": "r1",
    "container": "web",
    "mode": "stop-and-copy",
    "source": {"host": "a", "address": "10.0.0.11"},
    "destination": {"host": "b", "address": "10.0.0.12"},
    "edge": {"host": "e", "address": "10.0.0.10"},
    "services": [
        {"protocol": "tcp", "virtual_address": "10.9.0.1", "virtual_port": 80, "host_port": 8080, "container_port": 80}
    ],
    "memory_bytes": 1,
    "dump_seconds": 10,
    "downtime_limit_ms": 300.0,
    "predictions": {"stop-and-copy": 50.0},
    "cost": {"fixed_ms": 1.0, "measured": True},
    "reason": "manual",
}
LISTENING: dict[str, Any] = {
    "id": "r1",
    "credentials": CREDENTIALS,
    "listen": "10.0.0.11",
    "container": "web",
    "mode": "post-copy",
    "memory_bytes": 8,
}
EDGE: dict[str, Any] = {
    "id": "r1",
    "credentials": CREDENTIALS,
    "plan": PLAN,
    "source": ["10.0.0.11", 40000],
    "destination": ["10.0.0.12", 40001],
}
TENANT: dict[str, Any] = {"name": "web", "image": "10.0.0.10:5000/web:1", "published": [{"container_port": 80}]}


@pytest.fixture
def border() -> Border:
    """Return the border of one host."""
    return Border(SETTINGS, lambda: PUBLISHED)


def started(part: str, specification: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that start a part."""
    return {"state": "started", "relocation": "r1", "part": part, "specification": json.dumps(specification)}


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a document with another value at a dotted path."""
    new = copy.deepcopy(document)
    at: Any = new
    *way, last = path.split(".")
    for word in way:
        at = at[int(word) if word.isdigit() else word]
    at[int(last) if last.isdigit() else last] = value
    return new


def test_a_part_listens_here_and_hears_the_fleet_alone(border: Border) -> None:
    """Whatever the caller would have it hear."""
    told = json.loads(border.arguments("relocation_session", started("source", LISTENING))["specification"])
    assert told == {**LISTENING, "peers": ["10.0.0.10", "10.0.0.11", "10.0.0.12"]}


SETTINGS6: dict[str, Any] = {
    **SETTINGS,
    "address6": "FD00:0::11",
    "addresses": [*SETTINGS["addresses"], "fd00::11", "FD00:0::12"],
}
PLAN6: dict[str, Any] = {
    **PLAN,
    "source": {**PLAN["source"], "address6": "fd00::11"},
    "destination": {**PLAN["destination"], "address6": "fd00::12"},
    "services": [{**PLAN["services"][0], "virtual_address": "2001:db8::1"}],
}
PUBLISHED6 = [Service("web", "tcp", "2001:db8::1", 80, "fd00::11", 8080)]


def test_the_other_family_is_bound_to_the_fleet_as_well() -> None:
    """A part listens by IPv4 alone, and hears who is of the fleet by whichever address."""
    border = Border(SETTINGS6, lambda: [*PUBLISHED, *PUBLISHED6])
    told = json.loads(
        border.arguments("relocation_session", started("source", {**LISTENING, "listen6": "fd00::11"}))["specification"]
    )
    assert told["listen6"] == "fd00::11" and {"10.0.0.11", "fd00::11", "fd00::12"} <= {*told["peers"]}
    specification = {**EDGE, "plan": PLAN6}
    assert (
        json.loads(border.arguments("relocation_session", started("edge", specification))["specification"])
        == specification
    )
    for other in ("fd00::13", "fd00::12"):  # a thief's machine, another host of the fleet
        with pytest.raises(Forbidden, match=f"{other} is not the address of this host, fd00::11"):
            border.arguments("relocation_session", started("source", {**LISTENING, "listen6": other}))
    with pytest.raises(Forbidden, match="is not the address of this host, which has none of IPv6"):
        Border(SETTINGS, list).arguments("relocation_session", started("source", {**LISTENING, "listen6": "fd00::11"}))
    with pytest.raises(Forbidden, match="is not the address of this host"):
        border.arguments("relocation_session", started("source", {**LISTENING, "listen": "fd00::11"}))
    for path, value in (
        ("plan.destination.address6", "2001:db8::66"),  # a thief's machine
        ("plan.destination.address6", "fd00::12 }"),
        ("plan.services.0.virtual_address", "2001:db8::2"),  # another container's
        ("plan.services.0.virtual_address", "fe80::1%eth0 }"),
    ):
        with pytest.raises(Forbidden):
            border.arguments("relocation_session", started("edge", changed(specification, path, value)))
    service = {"name": "web", "virtual_address": "2001:DB8::1", "virtual_port": 80, "host_address": "fd00::12"}
    assert border.arguments("nat_service", service)["virtual_address"] == "2001:db8::1"
    with pytest.raises(Forbidden, match="is no address of the fleet"):
        border.arguments("nat_service", {**service, "host_address": "2001:db8::66"})


def test_an_edge_may_do_what_the_plan_says(border: Border) -> None:
    """And the whole plan comes back in the result."""
    assert json.loads(border.arguments("relocation_session", started("edge", EDGE))["specification"]) == EDGE


def test_two_edges_are_bound_alike(border: Border) -> None:
    """The one that follows listens, on its own address; the one that goes ahead connects to it."""
    other = {"host": "f", "address": "10.0.0.11", "gateway": "10.0.0.1"}
    ahead = {**changed(EDGE, "plan.standby", other), "standby": ["10.0.0.11", 40002]}
    assert json.loads(border.arguments("relocation_session", started("edge", ahead))["specification"]) == ahead
    follows = {**EDGE, "listen": "10.0.0.11"}
    told = json.loads(border.arguments("relocation_session", started("standby", follows))["specification"])
    assert told == {**follows, "peers": ["10.0.0.10", "10.0.0.11", "10.0.0.12"]}
    for part, wrong in (
        ("edge", {**ahead, "standby": ["10.0.0.12", 40002]}),
        ("edge", changed(ahead, "plan.standby.address", "192.0.2.1")),
        ("edge", changed(ahead, "plan.standby.gateway", "x }")),
        ("edge", {**EDGE, "standby": ["10.0.0.11", 40002]}),
        ("standby", EDGE),
        ("standby", {**EDGE, "listen": "10.0.0.12"}),
        ("standby", changed(follows, "plan.services.0.host_port", 22)),
    ):
        with pytest.raises(Forbidden):
            border.arguments("relocation_session", started(part, wrong))


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("relocation_info", {"register_fact": False}),
        ("relocation_preflight", {"name": "b", "container": {"name": "web", "image": "r:5000/web:1"}, "source": {}}),
        ("relocation_session", {"state": "finished", "relocation": "20261128-031500-abc", "timeout": 30}),
        ("relocation_session", {"state": "recovered", "relocation": "r1", "part": "source", "verdict": "commit"}),
        ("nat_service_info", {"name": "web"}),
        ("service_fence", {"state": "listed"}),
        (
            "nat_service",
            {"name": "web", "virtual_address": "10.9.0.1", "virtual_port": "80", "host_address": "10.0.0.11"},
        ),
        ("tenant_container", TENANT),
        ("tenant_container_info", {}),
    ],
)
def test_what_a_move_needs_is_taken(border: Border, module: str, arguments: dict[str, Any]) -> None:
    """The same arguments come back, ports as numbers."""
    taken = border.arguments(module, arguments)
    assert {name: str(value) for name, value in taken.items()} == {
        name: str(value) for name, value in arguments.items()
    }


def test_what_recovery_may_say_is_known(border: Border) -> None:
    """Each option of the module but those of the operator's own: else recovery ends where it needs that one."""
    options = yaml.safe_load(relocation_session.DOCUMENTATION)["options"]
    values: dict[str, Any] = {"str": "why", "bool": True, "int": 30}
    known = {"relocation": "r1", "part": "destination", "verdict": "commit"}
    told = {name: known.get(name, values[each["type"]]) for name, each in options.items()}
    told = {**told, "state": "recovered"}
    for name in ("container", "specification"):
        told.pop(name)
    assert border.arguments("relocation_session", told) == told and "ran" in told


@pytest.mark.parametrize(
    "path", ["specification.peers", "specification.port", "specification.order", "_ansible_shell_executable"]
)
def test_nothing_is_taken_that_is_not_known(border: Border, path: str) -> None:
    """A port, peers or an option of Ansible's own."""
    specification = changed(LISTENING, path.partition(".")[2], 1) if path.startswith("spec") else LISTENING
    arguments = started("source", specification)
    with pytest.raises(Forbidden, match="nothing that can be asked for"):
        border.arguments(
            "relocation_session", arguments if path.startswith("spec") else {**arguments, path: "/tmp/evil"}
        )


@pytest.mark.parametrize("part", ["source", "destination"])
def test_the_memory_is_not_recorded_for_this_login(border: Border, part: str) -> None:
    """A recording is sealed with the key that its caller gives, and lies where everybody can read it."""
    wanted = {**LISTENING, "recording": {"name": "relocate-r1.sealed", "key": "00" * 32}}
    with pytest.raises(Forbidden, match="snapshots are the operator's"):
        border.arguments("relocation_session", started(part, wanted))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", "../../etc/cron.d/x"),
        ("id", "r2"),
        ("listen", "10.0.0.12"),
        ("listen", "0.0.0.0"),
        ("listen", "192.0.2.1"),
        ("container", "web' }"),
        ("container", "../x"),
        ("mode", "privileged"),
        ("credentials", {"authority": "a"}),
        ("memory_bytes", -1),
        ("memory_bytes", True),
    ],
)
def test_a_listening_part_is_bound(border: Border, path: str, value: Any) -> None:
    """It writes no file elsewhere, and nobody makes it listen elsewhere."""
    with pytest.raises(Forbidden):
        border.arguments("relocation_session", started("destination", changed(LISTENING, path, value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("source.0", "192.0.2.1"),  # a thief's machine
        ("destination.0", "192.0.2.1"),
        ("destination.0", "10.0.0.11"),  # not where the plan has it
        ("destination.1", 0),
        ("plan.id", "r/1"),
        ("plan.container", "db"),  # whose service is another
        ("plan.container", "web; flush ruleset"),
        ("plan.destination.address", "192.0.2.1"),
        ("plan.services.0.virtual_port", 81),  # another container's
        ("plan.services.0.host_port", 22),
        ("plan.services.0.virtual_address", "10.9.0.1 }\nflush ruleset"),
        ("plan.services.0.protocol", "tcp } ; flush ruleset"),
        ("plan.services.0.more", 1),
        ("plan.dump_seconds", 1e300),
        ("plan.predictions", {"x": "y"}),
        ("plan.cost", {"x": []}),
    ],
)
def test_an_edge_is_bound(border: Border, path: str, value: Any) -> None:
    """It sends a container's packets to hosts of the fleet, and nothing else anywhere."""
    with pytest.raises(Forbidden):
        border.arguments("relocation_session", started("edge", changed(EDGE, path, value)))


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("ansible.builtin.command", {"cmd": "id"}),
        ("docker_daemon", {}),
        ("service_fence", {}),
        ("service_fence", {"state": "absent", "name": "web", "dead": ["10.0.0.11"]}),
        ("relocation_session", {"state": "removed", "relocation": "r1", "container": "web"}),
        ("relocation_session", {"state": "finished", "relocation": "../../../etc/passwd"}),
        ("relocation_session", {"state": "finished", "relocation": "r1", "timeout": 1e9}),
        ("relocation_session", {"state": "recovered", "relocation": "r1", "part": "../x"}),
        (
            "relocation_session",
            {"state": "started", "relocation": "r1", "part": "source", "specification": "[" * 100000},
        ),
        ("relocation_session", []),
        (
            "relocation_preflight",
            {"name": "b", "container": {"name": "web", "image": "x/../../containers"}, "source": {}},
        ),
        (
            "nat_service",
            {"name": "web", "virtual_address": "10.9.0.1", "virtual_port": 80, "host_address": "192.0.2.1"},
        ),
        (
            "nat_service",
            {
                "name": "web",
                "virtual_address": "10.9.0.1",
                "virtual_port": 80,
                "host_address": "10.0.0.11",
                "state": "absent",
            },
        ),
        ("tenant_container", {**TENANT, "image": "docker.io/evil:1"}),
        ("tenant_container", {**TENANT, "state": "absent"}),
        ("tenant_container", {**TENANT, "volumes": ["/:/host"]}),
    ],
)
def test_what_no_move_needs_is_refused(border: Border, module: str, arguments: Any) -> None:
    """In one sentence."""
    with pytest.raises(Forbidden) as refused:
        border.arguments(module, arguments)
    assert "\n" not in str(refused.value)


def packed(tmp_path: Path) -> Path:
    """Unpack what goes to hosts; return the program's directory."""
    archive = tmp_path / "program.tar"
    subprocess.run([sys.executable, ROLE, COLLECTION, archive], check=True, capture_output=True)
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True, capture_output=True)
    return tmp_path / "relocate"


def ask(program: Path, module: str, text: str, settings: str = json.dumps(SETTINGS)) -> tuple[int, dict[str, Any]]:
    """Make a request to what a host has, in a Python that knows nothing else."""
    (program / "requests.json").write_text(settings)
    code = (
        f"import sys; sys.path.insert(0, {str(program)!r}); from relocate_proxy import request; "
        f"request.SETTINGS = {str(program / 'requests.json')!r}; request.main()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, module], input=text, capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


def test_what_is_packed_runs_the_module_without_ansible(tmp_path: Path) -> None:
    """A Python without site-packages finds everything that the module imports in what was packed."""
    program = packed(tmp_path)
    status, answer = ask(program, "relocation_info", '{"arguments": {"register_fact": false}}')
    assert status == 0
    assert answer["relocation_info"]["host"]["architecture"]
    finished = '{"arguments": {"state": "finished", "relocation": "none", "timeout": 0}}'
    status, answer = ask(program, "relocation_session", finished)
    assert (status, answer["result"], answer["changed"]) == (0, None, False)
    for text in ("", "[", "[" * 100000, '{"arguments": {}, "become": 1}', '"x"', "1" * (request.LIMIT + 1)):
        status, answer = ask(program, "relocation_info", text)
        assert (status, answer["failed"]) == (1, True)
        assert answer["msg"].startswith("refused: ")
    assert ask(program, "relocation_info", "{}", settings="{}")[1]["msg"].endswith("run prepare.yml again")


def test_every_module_that_is_packed_has_its_check_and_its_action() -> None:
    """One that were not packed would fail on the host, one without an action would ask for root."""
    modules = runpy.run_path(str(ROLE))["MODULES"]
    border = Border(SETTINGS, list)
    for module in modules:
        with pytest.raises(Forbidden, match=r"of the wrong type"):
            border.arguments(module, None)
        assert (COLLECTION / f"plugins/action/{module}.py").is_file()


def test_the_login_takes_bare_words_alone() -> None:
    """No argument, no second command; what sudoers does not have, sudo refuses."""
    for said in (
        "",
        "id; id",
        "relocation_info x",
        "../x",
        "sudo -n /usr/local/sbin/relocate-request a b",
        "$(id)",
        "sh -c id",
        "a\nb",
    ):
        done = subprocess.run(
            ["/bin/sh", PROXY / "relocate-login"],
            env={"SSH_ORIGINAL_COMMAND": said, "PATH": "/nowhere"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert json.loads(done.stdout)["msg"].startswith("refused"), said
