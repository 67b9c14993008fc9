# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`relocate move`: what it asks of the playbook, what it shows, and how it ends."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from relocate.commands import move
from relocate.errors import Refusal
from relocate.move import playbook, relocation

RESULT: dict[str, Any] = {
    "container": "web",
    "outcome": "committed",
    "mode": "stop-and-copy",
    "source": {"host": "host1"},
    "destination": {"host": "host2"},
    "address_before": "172.20.1.2",
    "address_after": "172.20.2.2",
    "downtime_ms": 111.1,
    "predicted_downtime_ms": 120.4,
    "source_needed_ms": 0.0,
    "timings_ns": {"stage": 10**10, "freeze": 10**6, "dump": 5 * 10**7, "restore": 5 * 10**7},
    "flows": {"kept": 1, "lost": 0},
    "packets_held": 3,
}


def parts(bar: Any) -> list[tuple[str, int]]:
    """Return colour and length of each part of a bar."""
    return [(str(span.style), span.end - span.start) for span in bar.spans]


def test_the_bar_is_as_long_as_the_phases_took() -> None:
    """In the order in which they pass, whatever the order of the document; the time before the pause is no part of it."""
    bar = move.phase_bar({"restore": 30, "dump": 10, "stage": 10**9}, width=40)
    assert parts(bar) == [("blue", 10), ("green", 30)] and bar.plain == "█" * 40


def test_what_is_too_short_to_be_seen_is_not_shown_and_what_is_short_is() -> None:
    """Up to a fiftieth, and above it one cell at least."""
    assert parts(move.phase_bar({"freeze": 2, "dump": 98}, width=48)) == [("blue", 47)]
    assert parts(move.phase_bar({"freeze": 3, "dump": 97}, width=10)) == [("cyan", 1), ("blue", 10)]


@pytest.mark.parametrize("timings", [{}, {"stage": 5}, {"dump": 0}])
def test_a_pause_without_phases_has_no_bar(timings: dict[str, int]) -> None:
    """And nothing is divided by its length."""
    assert move.phase_bar(timings).plain == "" == move.phase_words(timings).plain


def test_every_phase_has_a_colour_of_its_own() -> None:
    """The words tell which part of the bar is which."""
    timings = dict.fromkeys(move.PHASES, 1_500_000)
    bar, words = move.phase_bar(timings, width=70), move.phase_words(timings)
    assert len({style for style, _ in parts(bar)}) == len(move.PHASES) == 8
    assert words.plain.split() == [word for phase in move.PHASES for word in (phase, "1.5")]


def shown(function: Any, result: dict[str, Any]) -> str:
    """Return what is printed of a result."""
    console = Console(file=io.StringIO(), width=120, highlight=False)
    function(console, result)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_committed_move_is_shown() -> None:
    """Where to, how long, and what was kept."""
    text = shown(move.show, RESULT)
    for piece in (
        "web  host1 → host2",
        "172.20.1.2 → 172.20.2.2",
        "111.1 ms  (stop-and-copy, 120 ms predicted)",
        "1 kept, 0 lost; 3 packets",
    ):
        assert piece in text


def test_what_post_copy_asked_of_the_source_is_shown() -> None:
    """For so long the container depended on both hosts. A result of before predictions has none."""
    text = shown(move.show, {**RESULT, "mode": "post-copy", "source_needed_ms": 902.2})
    assert "(post-copy, 120 ms predicted, source needed for another 902 ms)" in text
    assert move.how({"mode": "stop-and-copy"}) == "stop-and-copy"


def test_a_copy_that_has_ended_is_told_of() -> None:
    """It was moved, and that is not all there is to say."""
    text = shown(move.show, {**RESULT, "exit_code": 139})
    assert "it has ended there since, with exit status 139: see docker logs web" in text
    assert "ended" not in shown(move.show, RESULT)


def test_what_pre_copy_sent_ahead_is_shown() -> None:
    rounds = [{"bytes": 64 << 20, "stopped_ms": 9.0}, {"bytes": 2 << 20, "stopped_ms": 1.0}]
    text = shown(move.show, {**RESULT, "mode": "pre-copy", "rounds": rounds})
    assert "(pre-copy, 120 ms predicted, 66 MiB went ahead in 2 rounds)" in text
    assert "rounds" not in move.how({**RESULT, "rounds": []})


def test_a_plan_is_shown_as_it_is() -> None:
    """Brackets in it are no markup."""
    text = shown(move.show_plan, {"diff": {"after": "to [bold]host2\n"}})
    assert text == "to [bold]host2\nNothing was changed. Run it without --check to carry it out.\n"


class Run:
    """Stands in for the playbook."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, result: dict[str, Any], refuses: str | None = None) -> None:
        self.asked: dict[str, Any] = {}

        def run(root: object, book: str, variables: dict[str, Any], **options: Any) -> None:
            self.asked = {"book": book, **variables, **options}
            event = "runner_on_failed" if refuses else "runner_on_ok"
            for action in ("ansible.builtin.debug", relocation.RELOCATE):
                data = {"task_action": action, "res": result if action == relocation.RELOCATE else {"outcome": "wrong"}}
                options["watch"]({"event": event, "event_data": data})
            if refuses:
                raise Refusal(refuses)

        monkeypatch.setattr(playbook, "run", run)

    def invoke(self, *arguments: str) -> Any:
        """Run the command."""
        app = typer.Typer()
        move.register(app)
        app.command("other")(lambda: None)
        return CliRunner().invoke(app, ["move", *arguments])


def test_options_reach_the_playbook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not given do not."""
    run = Run(monkeypatch, RESULT)
    done = run.invoke("web", "--to", "host2", "--reason", "drain", "-i", "host1,", "--check", "--mode", "stop-and-copy")
    assert done.exit_code == 0, done.output
    wanted: dict[str, Any] = {
        "book": "playbooks/relocate.yml",
        "container": "web",
        "destination": "host2",
        "reason": "drain",
    }
    wanted |= {"mode": "stop-and-copy", "inventory": "host1,", "arguments": "--check --diff", "quiet": False}
    assert {name: run.asked[name] for name in wanted} == wanted
    run.invoke("web", "-i", "host1,")
    assert "relocate_downtime_limit_ms" not in run.asked, "else the inventory's own would not count"
    assert "destination" not in run.asked and run.asked["arguments"] == "" and run.asked["mode"] == "auto"


def test_the_limit_reaches_the_playbook(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a number."""
    run = Run(monkeypatch, RESULT)
    assert run.invoke("web", "-i", "host1,", "--downtime-limit", "150.5", "--mode", "post-copy").exit_code == 0
    assert (run.asked["relocate_downtime_limit_ms"], run.asked["mode"]) == (150.5, "post-copy")


def test_what_is_preferred_reaches_the_playbook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if somebody says so: the inventory may have its own."""
    run = Run(monkeypatch, RESULT)
    assert run.invoke("web", "-i", "host1,").exit_code == 0 and "relocate_prefer" not in run.asked
    assert run.invoke("web", "-i", "host1,", "--prefer", "pause").exit_code == 0
    assert run.asked["relocate_prefer"] == "pause"
    wrong = run.invoke("web", "-i", "host1,", "--prefer", "luck").exception
    assert isinstance(wrong, Refusal) and wrong.status == 2
    assert str(wrong) == "--prefer is 'luck': use one of safety, pause"


@pytest.mark.parametrize("limit", ["0", "-3", "nan", "inf"])
def test_a_limit_that_is_none_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """One sentence, and no playbook is run."""
    run = Run(monkeypatch, RESULT)
    done = run.invoke("web", "-i", "host1,", "--downtime-limit", limit)
    assert isinstance(done.exception, Refusal) and done.exception.status == 2
    assert str(done.exception) == f"--downtime-limit is {limit}: it must be a number of milliseconds above 0"
    assert not run.asked


def test_a_machine_gets_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ansible's own members, and with nothing else on the output."""
    run = Run(monkeypatch, {**RESULT, "_ansible_no_log": False})
    done = run.invoke("web", "-i", "host1,", "--json", "--verbose")
    assert json.loads(done.stdout) == RESULT and done.exit_code == 0
    assert run.asked["quiet"] and not run.asked["verbose"]


@pytest.mark.parametrize("outcome", ["rolled-back", "in-doubt", "refused"])
def test_a_move_that_was_not_made_is_a_failure(monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    """With the hosts' own sentence, or as a document; never as a success."""
    run = Run(monkeypatch, {**RESULT, "outcome": outcome, "msg": "the disk is full"}, refuses="'Move it' failed on x")
    done = run.invoke("web", "-i", "host1,")
    assert isinstance(done.exception, Refusal) and str(done.exception) == "the disk is full"
    done = run.invoke("web", "-i", "host1,", "--json")
    assert done.exit_code == 1 and json.loads(done.stdout)["outcome"] == outcome


def test_a_plan_that_is_refused_is_shown_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what was predicted of each mode; the refusal comes after it."""
    plan = {"outcome": "refused", "msg": "it would last 900 ms", "diff": {"after": "downtime     900 ms predicted\n"}}
    run = Run(monkeypatch, {**RESULT, **plan}, refuses="x")
    done = run.invoke("web", "-i", "host1,", "--check")
    assert str(done.exception) == "it would last 900 ms" and done.stdout == "downtime     900 ms predicted\n"
    assert run.invoke("web", "-i", "host1,").stdout == "", "without --check the sentence is enough"


def test_a_playbook_that_failed_before_there_was_anything_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own sentence is the answer; one that said nothing is not taken for a move."""
    done = Run(monkeypatch, {}, refuses="host0 is unreachable").invoke("web", "-i", "host1,")
    assert str(done.exception) == "host0 is unreachable"
    done = Run(monkeypatch, {}).invoke("web", "-i", "host1,")
    assert "without relocating anything" in str(done.exception)


def test_an_inventory_that_is_not_there_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the option as from the environment; a list of hosts is no file."""
    run = Run(monkeypatch, RESULT)
    done = run.invoke("web", "-i", "/nowhere")
    assert isinstance(done.exception, Refusal) and done.exception.status == 2
    assert str(done.exception) == "there is no inventory /nowhere: name one with --inventory or RELOCATE_INVENTORY"
    monkeypatch.setenv("RELOCATE_INVENTORY", "/elsewhere")
    assert "/elsewhere" in str(run.invoke("web").exception)
    monkeypatch.setenv("RELOCATE_INVENTORY", "host9,")
    assert run.invoke("web").exit_code == 0 and run.asked["inventory"] == "host9,"


def test_one_that_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for, and what became of its connections."""
    drained = {"connections": 3, "cut": 1, "seconds": 12.3}
    run = Run(monkeypatch, {**RESULT, "strategy": "recreate", "mode": "recreate", "drain": drained})
    done = run.invoke("web", "-i", "host1,", "--strategy", "recreate", "--drain-limit", "12")
    assert done.exit_code == 0 and "3 drained at host1 in 12 s, 1 of them cut" in done.stdout
    assert (run.asked["relocate_strategy"], run.asked["relocate_drain_limit_s"]) == ("recreate", 12.0)
    assert run.invoke("web", "-i", "host1,").exit_code == 0
    assert "relocate_strategy" not in run.asked and "relocate_drain_limit_s" not in run.asked
    for option, value in (("--strategy", "cold"), ("--drain-limit", "-1"), ("--drain-limit", "nan")):
        wrong = run.invoke("web", "-i", "host1,", option, value).exception
        assert isinstance(wrong, Refusal) and wrong.status == 2 and str(wrong).startswith(option)
