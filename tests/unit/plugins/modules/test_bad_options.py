# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of every module with every bad value: one sentence, and nothing run, written or asked.

The options are asked of the modules themselves: a new one is tried without a line here, and a new module fails until it has its
right parameters in ``BASES``. What would work is replaced by :class:`Reached`, and :func:`harmless` says which values may get
there. The numbers are printed (pytest -s).
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import syslog
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.relocate.mtd.plugins.module_utils import _commands, _docker, _module, _paths
from ansible_collections.relocate.mtd.plugins.modules import host_profile, relocation_session

from tests.paths import COLLECTION
from tests.unit.bad_values import NUMBERS, OTHERS, TEXTS, changed, harmless, places

from .conftest import PACKAGE, Ended

SERVICE = {"name": "web", "virtual_address": "192.0.2.1", "virtual_port": 80}
TENANT = {"name": "web", "image": "a/b:1", "published": [{"container_port": 80}]}
DESCRIBED = {"name": "web", "image": "a", "image_layers": ["sha256:1"], "image_digests": [], "ports": []}
EDGE = {
    "outside_interface": "lo",
    "fleet_network": "192.0.2.0/24",
    "egress_address": "198.51.100.1",
    "virtual_addresses": ["198.51.100.2/24"],
}
EDGE6 = {**EDGE, "fleet_network6": "fd00:77::/64", "egress_address6": "2001:db8::1"}
#: Right parameters, with which a module begins its work; several where an option is looked at only with others.
BASES: dict[str, list[dict[str, Any]]] = {
    "criu_dump": [{"container": "web", "images": "{tmp}/new"}, {"pid": 1, "images": "{tmp}/new"}],
    "criu_restore": [
        {"images": "{tmp}/container", "id": "copy", "network_namespace": "/proc/self/ns/net", "rootfs": "/etc"},
        {"images": "{tmp}/process"},
    ],
    "docker0_address": [{"address": "172.20.1.1/24", "path": "{tmp}/daemon.json"}],
    "docker_daemon": [{"settings": {"debug": True}, "path": "{tmp}/daemon.json"}],
    "edge_gateway": [EDGE, EDGE6, {**EDGE, "state": "absent"}],
    "host_profile": [{"scores": {"c": 1, "n": 1, "s": 1}, "rack": "r1"}],
    "host_witness": [{"address": "192.0.2.1"}],
    "nat_service": [{**SERVICE, "host_address": "192.0.2.2"}, {**SERVICE, "state": "absent"}],
    "nat_service_info": [{"name": "web"}],
    "neighbour_announce": [{"address": "192.0.2.1", "interface": "lo", "mac": "02:00:00:00:00:01"}],
    "relocation_info": [{}],
    "relocation_preflight": [{"container": DESCRIBED, "source": {"architecture": "x86_64"}, "name": "host1"}],
    "relocation_session": [
        {"state": "finished", "relocation": "r1"},
        {"state": "started", "relocation": "r1", "part": "edge", "specification": "{}"},
        {"state": "recovered", "relocation": "r1", "part": "source", "verdict": "commit"},
        {"state": "removed", "relocation": "r1", "container": "web"},
    ],
    "service_fence": [
        {"name": "web", "dead": ["192.0.2.1"], "host_address": "192.0.2.2"},
        {"name": "web", "dead": ["fd00::1"], "host_address": "192.0.2.2", "host_address6": "fd00::2"},
        {"name": "web", "dead": ["192.0.2.1"], "state": "absent"},
    ],
    "tenant_container": [TENANT, {**TENANT, "state": "absent"}],
    "tenant_container_info": [{"name": "web"}],
}
#: Modules that are only the documentation of an action plugin: tests/unit/plugins/action/test_bad_options.py.
ACTIONS = {
    *("container_relocate", "container_restore", "container_snapshot"),
    *("project_relocate", "relocation_check", "relocations_recover", "snapshots_info"),
}
#: Texts that are somebody's own, and what of them is not: all is text, and nothing of it is looked into.
OWN = {
    ("tenant_container", "command"),
    ("tenant_container", "environment"),
    ("tenant_container", "labels"),
    ("docker_daemon", "settings"),  # dockerd itself judges them before they are in its file
    ("relocation_preflight", "source"),
    ("relocation_preflight", "container"),  # layers and digests are compared, and nothing else is done with them
    ("relocation_session", "specification"),  # the proxy looks at it: tests/unit/proxy/test_foreign_bytes.py
}
#: Texts that people read, as they are: a template among them stays the text that it is.
REMARKS = {
    ("tenant_container", "tenant"),
    ("host_profile", "rack"),
    ("host_profile", "switch"),
    ("relocation_session", "gone"),
}


class Reached(BaseException):
    """Work was begun, with these parameters."""


@pytest.fixture
def sentinel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a directory with what modules read, while everything by which they would change or ask something is replaced."""
    for name in ("container", "process"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inventory.img").touch()
    description = {"container": "web", "config": {"root": {"path": "/etc"}}, "masked_directories": []}
    (tmp_path / "container/container.json").write_text(json.dumps(description))
    (tmp_path / "relocate_proxy").mkdir()
    with patch_module_args({}):
        pass  # at its first use Ansible makes a directory, if anything of its controller's side is there: with the real mkdir

    def reached(*_: Any, **__: Any) -> None:
        raise Reached

    def end(failed: bool) -> Any:
        def stand_in(_module: Any, *_: Any, **result: Any) -> None:
            raise Ended(failed, result)

        return stand_in

    for owner, name in (
        (basic.AnsibleModule, "run_command"),
        (basic.AnsibleModule, "atomic_move"),
        (_commands.Commands, "write_file"),
        (_docker.DockerClient, "_exchange"),
        (host_profile.Profiler, "configuration"),
        (relocation_session, "fetch"),
        (socket, "socket"),
        *((os, name) for name in ("makedirs", "mkdir", "unlink", "chmod", "rename", "kill")),
    ):
        monkeypatch.setattr(owner, name, reached)
    monkeypatch.setattr(_paths, "INSTALLED", str(tmp_path))
    monkeypatch.setattr(_paths, "EDGE", str(tmp_path))
    monkeypatch.setattr(basic.AnsibleModule, "exit_json", end(False))
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", end(True))
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda _module, name, *_, **__: name)
    monkeypatch.setattr(basic.AnsibleModule, "_log_invocation", lambda _: None)
    monkeypatch.setattr(syslog, "syslog", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, parameters: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return a module's failure, None where its work was begun, and its parameters as it understood them."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    seen: list[_module.HostModule] = []

    class Watched(_module.HostModule):
        def __init__(self, **keywords: Any) -> None:
            seen.append(self)
            super().__init__(**keywords)

    own, module.HostModule = module.HostModule, Watched
    try:
        with patch_module_args(parameters):
            module.main()
    except Reached:
        return None, seen[0].params
    except Ended as ended:
        return (ended.result if ended.failed else None), seen[0].params
    except Exception as error:
        raise AssertionError({each: str(value)[:80] for each, value in parameters.items()}) from error
    finally:
        module.HostModule = own
    raise AssertionError("it did not end")


def spec_of(name: str) -> tuple[dict[str, Any], Any]:
    """Return a module's argument specification, and its forms."""
    module: Any = importlib.import_module(f"{PACKAGE}.{name}")
    kept: dict[str, Any] = {}

    class Asked(BaseException):
        pass

    def keep(**keywords: Any) -> None:
        kept.update(keywords)
        raise Asked

    own, module.HostModule = module.HostModule, keep
    try:
        module.main()
    except Asked:
        return kept["argument_spec"], kept["forms"]
    finally:
        module.HostModule = own
    raise AssertionError(f"{name} makes no HostModule")


def test_no_module_and_no_option_is_forgotten() -> None:
    """What is neither a choice nor true or false has a form."""
    modules = {path.stem for path in (COLLECTION / "plugins/modules").glob("*.py")}
    assert sorted(modules - ACTIONS) == sorted(BASES)
    assert all((COLLECTION / f"plugins/action/{name}.py").exists() for name in ACTIONS)
    for name in BASES:
        spec, forms = spec_of(name)
        wanted = {each for each, option in spec.items() if option["type"] != "bool" and "choices" not in option}
        assert set(forms) == wanted, name


@pytest.mark.parametrize("name", BASES)
def test_every_option_with_every_bad_value(name: str, sentinel: Path) -> None:
    spec, _ = spec_of(name)
    counts: Counter[str] = Counter()
    before = sorted(sentinel.rglob("*"))
    for base in BASES[name]:
        right = json.loads(json.dumps(base).replace("{tmp}", str(sentinel)))
        assert run(name, right)[0] is None, (name, run(name, right))
        for place in places(spec):
            own, remark = ((name, place[0]) in each for each in (OWN, REMARKS))
            for value in [*TEXTS, *NUMBERS, *OTHERS]:
                if place[-1] == "state" and value in ("present", "absent"):
                    continue
                failure, understood = run(name, changed(right, place, value))
                what = f"{name} {place} {str(value)[:60]!r}: {str(failure)[:300]}"
                if failure is None:
                    counts["good after all"] += 1
                    assert harmless(understood.get(place[0]), own, remark), what
                    continue
                counts["refused"] += 1
                said = failure["msg"]
                assert said.isprintable() and 10 < len(said) <= 2001 and "Traceback" not in said, what
                assert not failure.get("changed"), what
    assert sorted(sentinel.rglob("*")) == before
    print(f"\n{name}: {sum(counts.values())} tried; {dict(counts)}")


@pytest.mark.parametrize("value", ["inf", "\ud800", "x" * 100_000])
def test_what_ansible_itself_cannot_read_is_one_sentence(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With Ansible's own way to end a module."""
    with (
        patch_module_args({"address": "192.0.2.1", "interface": "lo", "count": value}),
        pytest.raises(SystemExit) as ended,
    ):
        importlib.import_module(f"{PACKAGE}.neighbour_announce").main()
    answer = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1 and answer["failed"] and len(answer["msg"]) < 600
