# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option and argument of every subcommand with every bad value: one sentence, status 1 or 2, and nothing begun.

The subcommands and their options are asked of the program itself: a new one is tried without a line here. What would work is
replaced by :class:`Reached`: no text that is a template, moves a terminal or is longer than anybody writes may get there.
The numbers are printed (pytest -s).
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import pytest

from relocate import cli
from relocate.commands import lab, plan_run, simulate_figures, simulate_file
from relocate.fleet import inventory_policy
from relocate.schedule import discovery
from relocate.schedule.service import Service

#: What must not get anywhere.
HOSTILE = [
    *(
        "{{ lookup('pipe', 'touch TOUCHED') }}",
        "{% for x in y %}",
        "{#x",
        "a,{{ x }}",
        "\x1b[31mred",
        "a\nb",
        "\t",
        "\x7f",
    ),
    *("\u202etxt.exe", "\udcff", "x" * 1_000_000, "9" * 400, "é" * 5000),
]
#: What is wrong for some and right for others.
ODD = [
    *(
        "",
        " ",
        "-",
        "/",
        ".",
        "../../etc/passwd",
        "/dev/zero",
        "/dev/tty",
        "$(touch TOUCHED)",
        "; touch TOUCHED",
        "a b",
        "a=b",
    ),
    *(
        "%s%n",
        "[",
        "'",
        '"',
        "\\",
        "😀",
        "http://[",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e-400",
        "-1",
        "0",
        "-0.0",
        "1",
        "0.5",
    ),
    *(
        "1e6",
        str(2**31),
        str(2**63),
        "030",
        "0x10",
        "1_000",
        "true",
        "null",
        "x",
        "c=1",
        "c=nan",
        "c=",
        "=1",
        "c=1,c=1",
    ),
    *("auto", "paper", "equal", "fitted", "c=keys(@)", "c=keys(((("),
]
ATTACK = "attack: {family: fixed, mean: 600}\n"
SIMULATION = f"hosts: 6\nattackers: 2\n{ATTACK}clock: {{kind: poisson, rate: 0.5}}\nhorizon: 5\ntrials: 10\n"
PLAN = f"fleet: {{hosts: 6, attackers: 2}}\n{ATTACK}goal: {{horizon: 1 d, survival: 0.9}}\n"
LAB = {
    "hosts": [{"name": "host1", "interfaces": [{"address": "192.0.2.1/24"}]}],
    **dict.fromkeys(("client_namespace", "namespace", "known_hosts", "key"), "unit-flags"),
}
#: What a subcommand needs beside the option that is tried.
NEEDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("move",): ("web",),
    ("check",): ("web",),
    ("simulate",): ("fig4",),
    ("plan",): ("plan.yml",),
    ("lab", "shell"): ("host1",),
}
#: The same with other options that a value is looked at only with.
MORE: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("simulate",), ("simulation.yml",)),
    (("simulate",), ("fig5",)),
    (("schedule",), ("--dry-run",)),
    (("schedule",), ("--check",)),
    (("fleet",), ("--profiles", "profiles")),
    (("fleet",), ("--refresh",)),
    (("fleet",), ("--profiles", "profiles", "--from", "host1")),
    (("pause",), ("--host", "host1")),
]


Captured = pytest.CaptureFixture[str]


class Reached(BaseException):
    """Work was begun."""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every subcommand that does something, with its path."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


TREE = dict(commands(cli.command()))
CASES = [(path, NEEDS.get(path, ())) for path in TREE] + MORE


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with what commands read, in which everything that works is replaced."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "simulation.yml").write_text(SIMULATION)
    (tmp_path / "plan.yml").write_text(PLAN)
    (tmp_path / "a/b/lab").mkdir(parents=True)
    (tmp_path / "a/b/lab/lab.json").write_text(json.dumps(LAB))
    (tmp_path / "profiles").mkdir()
    for number, kernel in enumerate(("6.1", "6.12")):
        facts = f'"c": {{"kernel": "{kernel}"}}, "n": {{"mtu": {number}}}, "s": {{"shell": "sh"}}'
        (tmp_path / f"profiles/host{number}.json").write_text(f'{{"version": 1, {facts}}}')
    for name in ("RELOCATE_INVENTORY", "RELOCATE_PROFILES", "RELOCATE_LEDGER", "RELOCATE_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("RELOCATE_LAB_STATE", str(tmp_path / "a/b/lab"))
    monkeypatch.setenv("RELOCATE_LAB_NAME", "unit-flags")

    def reached(*_: Any, **__: Any) -> None:
        raise Reached

    for owner, name in (
        (ansible_runner.interface, "run"),
        (ansible_runner, "run_command"),
        (Service, "run"),
        (discovery, "survey"),
        (simulate_file, "simulate"),
        (simulate_figures.figures, "fig4"),
        (simulate_figures.figures, "fig5"),
        (plan_run.planned, "make"),
        (lab, "exclusively"),
        (lab.os, "execvp"),
        (lab.status, "read"),
    ):
        monkeypatch.setattr(owner, name, reached)
    monkeypatch.setattr(inventory_policy, "of", lambda *_: None)  # asks Ansible, which takes a second
    return tmp_path


def files(directory: Path) -> dict[str, int]:
    """Return what is in a directory, without the scheduler's own empty store."""
    found = (each for each in directory.rglob("*") if "state" not in each.parts)
    return {str(each.relative_to(directory)): each.stat().st_mtime_ns for each in found}


def invoke(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int | None, str, str]:
    """Return status, output and error output of the command; the status is None if work was begun."""
    monkeypatch.setattr(sys, "argv", ["relocate", *arguments])
    status: Any = None
    try:
        cli.main()
    except SystemExit as end:
        status = end.code
    except Reached:
        pass
    except Exception as error:
        raise AssertionError([each[:60] for each in arguments]) from error
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(("path", "needs"), CASES, ids=[" ".join((*path, *needs)) for path, needs in CASES])
def test_every_option_with_every_bad_value(
    path: tuple[str, ...],
    needs: tuple[str, ...],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts: Counter[str] = Counter()
    before = files(place)
    for parameter in TREE[path].params:
        if getattr(parameter, "is_flag", False):
            tried = [([f"{parameter.opts[0]}={value}"], value) for value in ("x", "", "{{ x }}")]
        elif parameter.param_type_name == "argument":
            others = needs[1:] if parameter.required else needs
            tried = [([*others, "--", value], value) for value in [*HOSTILE, *ODD]]
        else:
            tried = [([f"{parameter.opts[0]}={value}"], value) for value in [*HOSTILE, *ODD]]
        for arguments, value in tried:
            given = [*path, *(() if "--" in arguments else needs), *arguments]
            status, out, err = invoke(monkeypatch, capsys, *given)
            what = f"{' '.join(each[:50] for each in given)!r} {status} {out[-300:]!r} {err[-700:]!r}"
            counts[f"status {status}" if status is not None else "good after all"] += 1
            if status is None or status == 0:
                free = parameter.name == "command"  # of `lab shell`: what runs there is the caller's to say
                assert value not in HOSTILE or free, f"it was taken: {what}"
                continue
            assert status in (1, 2), what
            lines = [line for line in err.splitlines() if line]
            assert lines and lines[0].startswith("relocate: "), what
            assert len(lines) <= 22 and all(len(line) < 700 and line.isprintable() for line in lines), what
            assert re.search(r"[:;,] ", lines[0][10:]) and "Traceback" not in err, what
            assert not out, what
        assert files(place) == before, (path, parameter.name)
    assert not (place / "TOUCHED").exists()
    print(f"\n{' '.join((*path, *needs))}: {sum(counts.values())} tried; {dict(counts)}")


def test_what_is_no_command_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in [each for each in HOSTILE if each]:
        for before in ([], ["lab"]):
            status, out, err = invoke(monkeypatch, capsys, *before, value)
            assert status == 2 and not out and err.startswith("relocate: ") and err.count("\n") == 1, (
                value[:50],
                err[:300],
            )
            assert len(err) < 700 and err.rstrip("\n").isprintable()
