# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of every action with every bad value: one sentence, and no host asked.

A new option is tried without a line here, and a new action fails until it is in ``BASES``. The numbers are printed (pytest -s).
"""

from __future__ import annotations

import importlib
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import deciding, remote, requests

from tests.paths import COLLECTION
from tests.unit.bad_values import NUMBERS, OTHERS, TEXTS, changed, harmless, places

PACKAGE = "ansible_collections.relocate.mtd.plugins.action"
MOVE = {"container": "web", "destination": "host2", "source": "host1", "downtime_limit_ms": 300}
#: Right options, with which an action begins to ask hosts.
BASES: dict[str, dict[str, Any]] = {
    "container_relocate": {**MOVE, "identifier": "r1", "alert": {"at": "2026-11-23T12:00:00+00:00"}},
    "container_restore": {"container": "web", "destination": "host2", "dead": ["host1"], "store": "/srv/snapshots"},
    "container_snapshot": {"container": "web", "source": "host1", "key": "/etc/relocate/snapshots.key"},
    "project_relocate": {"project": "shop", **{name: MOVE[name] for name in MOVE if name != "container"}},
    "relocation_check": MOVE,
    "snapshots_info": {"container": "web"},
    "relocations_recover": {"gone": ["host3"]},
}
#: Texts that people read, as they are; the alert's time is read as one, or left out of the result.
REMARKS = {"reason", "alert", "source", "edge", "policy"}


class Reached(BaseException):
    """A host is asked."""


def spec_of(name: str) -> tuple[dict[str, Any], Any]:
    """Return an action's options and their forms."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    home = module if hasattr(module, "OPTIONS") else deciding
    return home.OPTIONS, home.FORMS


def run(name: str, given: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return why an action has refused its options, None where it has gone on to ask a host, and them as it understood them."""
    understood: dict[str, Any] = {}
    task = SimpleNamespace(args=given, check_mode=True, async_val=0, action=name, diff=False, environment=None)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/none"))
    plugin: Any = importlib.import_module(f"{PACKAGE}.{name}").ActionModule
    action = plugin(task, connection, SimpleNamespace(), None, None, None)
    groups = {"docker_hosts": ["host1", "host2", "host3"], "edge": ["gate"]}
    validate = action.validate_argument_spec

    def watched(**keywords: Any) -> Any:
        found = validate(**keywords)
        understood.update(found[1])
        return found

    action.validate_argument_spec = watched
    try:
        result = action.run(None, {"groups": groups, "hostvars": {}})
    except Reached:
        return None, understood
    except AnsibleActionFail as error:
        return str(error), understood
    except Exception as error:
        raise AssertionError({each: str(value)[:80] for each, value in given.items()}) from error
    assert result["failed"] and not result.get("changed"), result
    return str(result["msg"]), understood


def test_no_action_and_no_option_is_forgotten() -> None:
    """Those that only hand options to a host have none of their own: the module there looks at them, and the login."""
    for path in (COLLECTION / "plugins/action").glob("*.py"):
        handing = issubclass(importlib.import_module(f"{PACKAGE}.{path.stem}").ActionModule, requests.RequestAction)
        assert handing != (path.stem in BASES), path.stem
    for name in BASES:
        spec, forms = spec_of(name)
        assert set(forms) == {each for each, option in spec.items() if "choices" not in option}, name


@pytest.mark.parametrize("name", BASES)
def test_every_option_with_every_bad_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*_: Any) -> None:
        raise Reached

    monkeypatch.setattr(remote, "Remote", reached)
    monkeypatch.setattr(f"{PACKAGE}.{name}.open_store", reached, raising=False)  # which comes before any host
    spec, _ = spec_of(name)
    counts: Counter[str] = Counter()
    assert run(name, BASES[name])[0] is None
    for place in places(spec):
        for value in [*TEXTS, *NUMBERS, *OTHERS]:
            said, understood = run(name, changed(BASES[name], place, value))
            what = f"{name} {place} {str(value)[:60]!r}: {str(said)[:300]}"
            if said is None:
                counts["good after all"] += 1
                assert harmless(understood.get(place[0]), False, place[0] in REMARKS), what
                continue
            counts["refused"] += 1
            assert said.isprintable() and 10 < len(said) < 2100 and "Traceback" not in said, what
    print(f"\n{name}: {sum(counts.values())} tried; {dict(counts)}")
