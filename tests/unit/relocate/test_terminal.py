# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a host says, the terminal is not its to command: no escape, no line of its own, no style."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import ledger, plan
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports
from rich.console import Console

from relocate import cli
from relocate.commands import move, recover
from relocate.errors import Refusal
from relocate.move import playbook, relocation
from relocate.schedule import logs, views
from relocate.schedule.launchers.base import Move
from relocate.schedule.launchers.outcome import document
from relocate.schedule.records import Firing

EVIL = "\x1b[2J\x9b1mweb\r\n[bold]x[/bold]\u202e\x07"
RESULT: dict[str, Any] = {
    "id": "r1", "container": EVIL, "outcome": "committed", "mode": EVIL, "source": {"host": EVIL, "address": EVIL},
    "destination": {"host": EVIL, "address": EVIL}, "address_before": EVIL, "address_after": EVIL, "downtime_ms": 1.0,
    "timings_ns": {"freeze": 1}, "flows": {"kept": 1, "lost": 0}, "packets_held": 0, "bytes": {}, "choice": {"why": EVIL},
}  # fmt: skip


def clean(text: str) -> None:
    """Check that a text holds nothing but printable characters, and line ends, and that nothing of it was a style."""
    odd = [letter for letter in text if letter != "\n" and not letter.isprintable()]
    assert not odd, odd
    assert r"\x1b[2J" in text and "[bold]x[/bold]" in text.replace("\n", "")


def shown(printing: Any) -> str:
    """Return what is printed on a console without colours."""
    stream = io.StringIO()
    printing(Console(file=stream, width=2000, highlight=False, color_system=None))
    return stream.getvalue()


def callback() -> ModuleType:
    """Import the callback as Ansible does: from its file."""
    source = Path(__file__).parents[3] / "plugins/callback/relocation_report.py"
    specification = importlib.util.spec_from_file_location("relocation_report", source)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_a_move_and_its_plan() -> None:
    """The move as it is shown, and the lines of its plan, which Ansible prints as well."""
    clean(shown(lambda console: move.show(console, RESULT)))
    steps = plan.steps(
        {**RESULT, "image": EVIL, "memory_bytes": 1, "edge": {"host": EVIL}, "mode_why": EVIL, "predicted_from": EVIL}
        | {"predictions": {}, "predicted_downtime_ms": 1.0, "downtime_limit_ms": 1.0, "modes_unavailable": {EVIL: EVIL}}
        | {"choice": {"why": EVIL, "distribution": {EVIL: 0.5}, "notes": [EVIL]}, "services": []}
    )
    assert len(steps) == 9
    for line in steps:
        clean(f"{line}\\x1b[2J[bold]x[/bold]" if line.startswith("downtime") else line)


def test_what_recover_settled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Names come from journals."""
    monkeypatch.setenv("COLUMNS", "1000")
    settled = [dict.fromkeys(("relocation", "container", "host", "part", "outcome"), EVIL)]
    monkeypatch.setattr(relocation, "recover", lambda **_: {"settled": settled, "in_progress": [EVIL], "left": []})
    recover.recover()
    clean(capsys.readouterr().out)


def test_the_scheduler_s_views() -> None:
    """Status and history; a database may still hold what an older version believed."""
    firing = Firing("r1", EVIL, EVIL, "clock", "ended", 0.0, destination=EVIL, outcome=EVIL, msg=EVIL)
    clean(shown(lambda console: console.print(views.history_table([firing]))))
    tenant = {"container": EVIL, "host": EVIL, "stayed_seconds": 1.0, "state": "staying", "hops": 0, "failed": 0}
    tenant |= {"last_outcome": EVIL, "clock": {"kind": "poisson", "rate": 1.0}, "problem": EVIL}
    paused = [{"scope": "container", "name": EVIL, "drain": False, "why": EVIL}]
    status = {"fleet": EVIL, "scheduler": {"running": True}, "paused": paused, "tenants": [tenant]}
    clean(shown(lambda console: [console.print(part) for part in views.status_tables(status)]))


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log(form: Any) -> None:
    """A line stays a line, and half a character does not lose it."""
    stream = io.StringIO()
    logger = logs.setup(form, "info", stream)
    logger.warning("%s tells nothing", EVIL + "\ud800", extra={"host": EVIL})
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable() and "\ud800" not in line
    line.encode()
    if form == "json":
        assert json.loads(line)["host"] == EVIL
    logging.getLogger(logs.LOGGER).handlers.clear()


def test_a_refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a task of Ansible's said is one line."""
    event = {"event_data": {"task": EVIL, "host": EVIL, "res": {"msg": EVIL, "stderr": f"1\n{EVIL}"}}}
    said = playbook.failure(event)
    monkeypatch.setattr(cli, "command", lambda: lambda **_: (_ for _ in ()).throw(Refusal(said)))
    with pytest.raises(SystemExit):
        cli.main()
    clean(capsys.readouterr().err)
    assert "\n" not in said.replace("'", "")


def test_the_callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints; and a result that is none gets no line in the ledger."""
    printed: list[str] = []
    module = callback()
    display = SimpleNamespace(display=printed.append, warning=printed.append)
    fake = SimpleNamespace(_display=display, get_option=lambda _: str(tmp_path / "ledger.jsonl"))
    fake._report_one = lambda result: module.CallbackModule._report_one(fake, result)
    task = SimpleNamespace(action=module.ACTION)
    refused = {"outcome": "refused", "container": "web", "msg": EVIL}
    module.CallbackModule._report(fake, SimpleNamespace(task=task, result=refused))
    clean("".join(printed))
    assert len(ledger.latest(tmp_path / "ledger.jsonl")) == 1
    for wrong in ({**refused, "container": EVIL}, {"outcome": 5}, {"outcome": "committed", "downtime_ms": 10**400}):
        printed.clear()
        module.CallbackModule._report(fake, SimpleNamespace(task=task, result=wrong))
        assert len(printed) == 1 and printed[0].isprintable() and "no line in the ledger" in printed[0]
    assert len(ledger.latest(tmp_path / "ledger.jsonl")) == 1
    committed = {"outcome": "committed", "container": "web", "source": {"host": "h1"}, "destination": {"host": "h2"}}
    module.CallbackModule._report(fake, SimpleNamespace(task=task, result=committed))
    assert len(ledger.latest(tmp_path / "ledger.jsonl")) == 2


def test_lines_of_the_ledger_that_are_none(tmp_path: Path) -> None:
    """They are passed over, whatever wrote them."""
    path = tmp_path / "ledger.jsonl"
    wrong = [
        5,
        [],
        {"source": 5},
        {"flows": {"ingress": "x"}},
        {"cost": {"fixed_ms": "x"}},
        {"id": ["r1"]},
        {"downtime_ms": "1"},
    ]
    deep = "[" * 100_000 + "]" * 100_000
    path.write_text("\n".join([*map(json.dumps, wrong), deep, "{", '{"id": "r1", "outcome": "committed"}']) + "\n")
    assert ledger.latest(path) == [{"id": "r1", "outcome": "committed"}]


@pytest.mark.parametrize(
    "wrong", [{"outcome": []}, {"destination": "h2"}, {"downtime_ms": "x"}, {"msg": {"a": 1}}], ids=repr
)
def test_a_launchers_result_that_is_none_is_in_doubt(wrong: dict[str, Any]) -> None:
    """What became of the move the hosts' journals tell."""
    kept = document(Move("r1", "web", "h1", "clock", 0.0, {}), {"outcome": "committed", **wrong})
    assert (kept["outcome"], kept["id"], kept["container"]) == ("in-doubt", "r1", "web")
    assert reports.move_result(kept) and sys.getsizeof(kept["msg"]) < 1000
