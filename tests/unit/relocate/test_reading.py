# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of people's files: what it takes, and the one form in which it refuses, by simulate, plan and schedule alike."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from relocate import cli, reading
from relocate.errors import Refusal

SIMULATE = {
    "hosts": 30,
    "attackers": 10,
    "attack": {"family": "fixed", "mean": 4.0},
    "clock": {"kind": "poisson", "rate": 0.5},
    "horizon": [2, 5],
    "trials": 100,
}
PLAN = {
    "fleet": {"hosts": 30, "attackers": 3},
    "attack": {"family": "fixed", "mean": "10 min"},
    "goal": {"horizon": "30 d", "survival": 0.99},
    "trials": 100,
}
LINE = re.compile(r"[^\n]+:[0-9]+: [^\n]+\.")

#: Text that no YAML file of the product may have, and a part of what is said of it.
NO_FILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "comments only": (b"# nothing\n", "the file is empty"),
    "an empty mapping": (b"{}\n", "the file is empty"),
    "null": (b"null\n", "the file is empty"),
    "a list": (b"- 1\n", "the file holds a list, and a mapping"),
    "text": (b"hello\n", "the file holds text, and a mapping"),
    "binary": (b"a: 1\n\xff\xfe\x00\x01", ":2: this is no text in UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), ":1: this is no text in UTF-8"),
    "latin-1": ("a: é\n".encode("latin-1"), ":1: this is no text in UTF-8"),
    "a NUL": (b"a: 1\nb: \x00\n", ":2: the control character '\\x00'"),
    "an escape": (b"a: \x1b[2J\n", ":1: the control character '\\x1b'"),
    "too large": (b"#" * (reading.YAML_BYTES + 1), "larger than 256 KiB"),
    "3000 brackets": (b"x: " + b"[" * 3000, "deeper than 32 levels"),
    "3000 lines of brackets": (b"x:\n" + b" [\n" * 3000, "deeper than 32 levels"),
    "3000 nested mappings": (b"".join(b" " * n + b"a:\n" for n in range(600)), "deeper than 32 levels"),
    "a recursive alias": (b"x: &a [*a]\n", "x: anchors and aliases (&a) are not taken"),
    "a recursive mapping": (b"x: &a {b: *a}\n", "x: anchors and aliases (&a) are not taken"),
    "an alias of nothing": (b"x: *a\n", "x: anchors and aliases (*a) are not taken"),
    "a merge": (b"x: {<<: {a: 1}}\n", "x: merges (<<) are not taken"),
    "nested aliases": (  # each nine of the one before: nine to the fifteenth
b"a: &a [1,1,1]\n" + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 112)),
        "anchors and aliases",
    ),
    "a tag": (b"x: !!python/object/apply:os.system ['true']\n", "tags (tag:yaml.org,2002:python/object/apply:o"),
    "a doubled key": (b"hosts: 1\nhosts: 2\n", ":2: hosts: it stands in line 1 already"),
    "a doubled key, in quotes": (b'a: {1: x, "1": y}\n', ":1: a.1: it stands in line 1 already"),
    "two documents": (b"a: 1\n---\nb: 2\n", ":2: a second document begins here"),
    "a key that is a list": (b"? [a]\n: 1\n", "a key is no word"),
    "an empty key": (b'{"": 1}\n', "a key is empty"),
    "a tab": (b"a:\n\t- 1\n", ":2: this is no YAML"),
    "an open bracket": (b"a: [1\n", "this is no YAML"),
    "an unknown escape": (b'a: "\\q"\n', "this is no YAML"),
    "an escape beyond Unicode": (b'a: "\\UFFFFFFFF"\n', "this is no YAML"),
    "half a character": (b'a: "\\ud800"\n', "a: the text '\\ud800' has half a character"),
    "a NUL by escape": (b'a: "\\0"\n', "a: the text '\\x00' has a NUL character"),
    "a leading zero": (b"hosts: 030\n", "hosts: it is '030', which YAML's versions read as different numbers"),
    "hexadecimal": (b"hosts: 0x1F\n", "hosts: it is '0x1F', which"),
    "underscores": (b"hosts: 1_000\n", "hosts: it is '1_000', which"),
    "yes": (b"x: yes\n", "x: yes is a truth value in old YAML and text in new"),
    "not a number": (b"x: .nan\n", "x: it is .nan: numbers are finite here"),
    "infinity": (b"x: -.inf\n", "x: it is -.inf: numbers are finite here"),
    "beyond double": (b"x: 1e999\n", "x: it is '1e999': numbers end at 1.8e308"),
    "5000 digits": (b"x: " + b"9" * 5000 + b"\n", "x: it is a number of 5000 digits"),
}  # fmt: skip


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.build(), [str(each) for each in arguments])


def commands(file: Path) -> list[list[object]]:
    return [["simulate", file], ["plan", file], ["schedule", "--check", "--config", file]]


@pytest.mark.parametrize("content", NO_FILE)
def test_what_is_no_file_is_refused_alike_by_all(content: str, tmp_path: Path) -> None:
    data, said = NO_FILE[content]
    file = tmp_path / "x.yml"
    file.write_bytes(data)
    begun = time.process_time()
    told = set()
    for arguments in commands(file):
        refusal = run(*arguments).exception
        assert isinstance(refusal, Refusal), (arguments, refusal)
        assert refusal.status == 1
        assert said in str(refusal)
        assert LINE.fullmatch(str(refusal)), refusal
        assert len(str(refusal)) < 400
        told.add(str(refusal).split("empty:")[0])  # the remedy for an empty file is each command's own
    assert len(told) == 1
    assert time.process_time() - begun < 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("hosts: 2026-13-45", "hosts: it is '2026-13-45': a whole number is needed."),
        ("hosts: 2026-02-30 10:00:00", "hosts: it is '2026-02-30 10:00:00': a whole number is needed."),
        ("hosts: 1:30", "hosts: it is '1:30': a whole number is needed."),
        ("hosts: true", "hosts: it is True: a whole number is needed."),
        ("hosts: '30'", "hosts: it is '30': a whole number is needed."),
        ("hosts: 30.5", "hosts: it is 30.5: a whole number is needed."),
        ("failure: true", "failure: it is True: a number is needed."),
        ("horizon: 1.0e+308", "horizon: it is 1e+308: survival is asked for at times above 0, 1e-12 to 1e+15."),
        ("horizon: x", "horizon: it is 'x': a number is needed."),
        ("attack: {family: lognormal, mean: 1e308, sigma: 10}", "attack.mean: it is 1e+308: it must be at most 1e+15."),
        ("attack: {family: fixed}", "attack.mean: it is missing: the fixed family needs it."),
        ("attack: 5", "attack: it is 5: a mapping of keys is needed."),
        ("clock: {kind: erlang, rate: 1, shape: 1e300}", "clock.shape: it is 1e+300"),
        ("clock: {kind: pmf-count, lambda: 1e6, threshold: 0.0001, rate: 1}", "and at most 1000 are taken"),
        ("clock: {kind: poisson, rate: '1'}", "clock.rate: it is '1': it must be a number."),
        ("trials: 0", "trials: it is 0: it must be at least 1."),
        ("clock: {kind: poisson, rate: 1e6}\ntrials: 1000000", "would take about"),
        ("clock: {kind: periodic, period: 1e-9}", "would take about"),
        ("horizon: 1.0e+14", "would take about"),
        ("failure: 0.999999\ntrials: 1000000", "would take about"),
    ],
)  # fmt: skip
def test_simulate_refuses(change: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    keys = [line.partition(":")[0] for line in change.splitlines()]
    rest = {key: value for key, value in SIMULATE.items() if key not in keys}
    file.write_text(f"{change}\n{yaml.safe_dump(rest)}")
    begun = time.process_time()
    refusal = run("simulate", file).exception
    assert isinstance(refusal, Refusal), refusal
    assert refusal.status == 1 and said in str(refusal)
    assert str(refusal).startswith(f"{file}:1: ")
    assert time.process_time() - begun < 5


def test_the_option_is_checked_as_the_files_key(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(yaml.safe_dump(SIMULATE))
    assert run("simulate", file, "--trials", 10**11).exit_code == 2
    refusal = run("simulate", file, "--trials", 10**10).exception
    assert (
        isinstance(refusal, Refusal)
        and "10000000000 trials" in str(refusal)
        and "80 minutes, and 60 minutes are the limit" in str(refusal)
    )
    assert run("simulate", file, "--trials", 50, "--json").exit_code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("goal: {horizon: 1.0e-300, survival: 0.99}", "goal.horizon: it is 1e-300: it must be at least 1e-06."),
        ("goal: {horizon: 1.2.3 s, survival: 0.99}", "goal.horizon: '1.2.3 s' is no duration"),
        ("goal: {horizon: 1e400, survival: 0.99}", "goal.horizon: it is '1e400': numbers end at 1.8e308"),
        ("goal: {horizon: 30 d, survival: 0.99, hops: 3}", "goal.hops: there is no such key"),
        ("attack: {}", "attack: exactly one is needed of"),
        ("attack: {family: fixed, mean: 0.001}", "would take about"),
    ],
)
def test_plan_refuses(change: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "p.yml"
    rest = {key: value for key, value in PLAN.items() if key != change.partition(":")[0]}
    file.write_text(f"{change}\n{yaml.safe_dump(rest)}")
    refusal = run("plan", file).exception
    assert isinstance(refusal, Refusal), refusal
    assert refusal.status == 1 and said in str(refusal)
    assert str(refusal).startswith(f"{file}:1: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mode: warp", "mode: it is 'warp': it must be one of auto, stop-and-copy, post-copy, pre-copy."),
        ("discovery: {every: 1e-300}", "discovery.every: it is 1e-300: it must be at least 0.5."),
        ("discovery: {every: 1e300}", "discovery.every: it is 1e+300: it must be at most 86400."),
        ("destination: {weights: {w_c: .nan}}", "destination.weights.w_c: it is .nan"),
        ("destination: {weights: {w_c: 3}}", "destination: the weights sum to 3 and not to 1"),
        ("destination: {weights: {c: 1}}", "there is no such weight"),
        ("destination: {weights: [1]}", "destination.weights: it is [1]; use equal, fitted, or a mapping"),
        ("destination: {beta: true}", "destination.beta: it is True"),
        ("destination: {include: 'keys(((('}", "destination.include: it is 'keys((((': it must be a mapping"),
        ("destination: {include: {c: 'keys(((('}}", "destination.include.c: 'keys((((' is no JMESPath expression"),
        ("store: {url: 'sqlite:'}", "store.url: it names no store of sqlite"),
        ("store: {url: 'sqlite://'}", "store.url: it names no store of sqlite"),
        ("store: {url: 'postgresql://[:x'}", "store.url: it names no store of postgresql"),
        ("metrics: {listen: 'a b:1'}", "metrics.listen: it is 'a b:1': give HOST:PORT"),
        ("metrics: {listen: 'a:99999'}", "metrics.listen: it is 'a:99999': give HOST:PORT"),
        ("metrics: {listen: ''}", "metrics.listen: it is '': give HOST:PORT"),
        ("limits: {windows: [{from: '22:00', to: '22:00'}]}", "a window from 22:00:00 to 22:00:00 is empty"),
        ("limits: {windows: [{from: '25:00', to: '22:00'}]}", "limits.windows[0].from: '25:00' is no time of day"),
        ("limits: {windows: [{from: 1350, to: '22:00'}]}", "limits.windows[0].from: 1350 is no time of day"),
        ("limits: {blackouts: [{from: 2026-12-24, to: 9999-12-31}]}", "the year 9999 is far off"),
        ("limits: {blackouts: [{from: 2026-13-45, to: 2026-12-31}]}", "limits.blackouts[0].from: it is '2026-13-45'"),
        ("limits: {in_flight: true}", "limits.in_flight: it is True: a whole number is needed."),
        ("labels: {clock: 'yes'}", "labels.clock: it is 'yes': true or false is needed."),
        ("clock: {kind: periodic, period: 1e-9}", "clock.kind: it is periodic, and its stays are 1e-09 s in the mean"),
        ("variables: {relocate_virtual_addresses: [1]}", "variables.relocate_virtual_addresses: it is a list: it has the"),
        ("variables: {'a b': 1}", "variables: 'a b' is no name of an Ansible variable"),
        ("launcher: {kind: awx, url: 'https://[', template: 1, recover_template: 2}", "launcher.url: it is 'https://['"),
        ("fleet: '{{ lookup(1) }}'", "fleet: it is '{{ lookup(1) }}': it must match"),
    ],
)  # fmt: skip
def test_schedule_refuses(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(text + "\n")
    refusal = run("schedule", "--check", "--config", file).exception
    assert isinstance(refusal, Refusal), refusal
    assert refusal.status == 1 and said in str(refusal)
    assert str(refusal).startswith(f"{file}:1: ")


def test_what_a_file_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is no file is wrong usage; a pipe is read; none of them holds the command."""
    monkeypatch.setattr(reading, "PIPE_SECONDS", 0.2)
    os.mkfifo(tmp_path / "silent")
    (tmp_path / "secret").symlink_to(tmp_path / "secret")
    for path in ("none", ".", "silent", "secret", "x" * 300, "a\x1b[2J"):
        for arguments in commands(tmp_path / path):
            refusal = run(*arguments).exception
            assert isinstance(refusal, Refusal), (path, refusal)
            assert refusal.status == 2
            assert "\x1b" not in str(refusal)
    for device in ("/dev/zero", "/dev/null"):
        refusal = run("simulate", device).exception
        assert isinstance(refusal, Refusal) and "is no file but a directory or device" in str(refusal)
    monkeypatch.setattr(reading, "PIPE_SECONDS", 120.0)
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (time.sleep(0.1), os.write(writer, b"fleet: a\n"), os.close(writer))).start()
    assert run("schedule", "--check", "--config", f"/dev/fd/{reader}").exit_code == 0
    os.close(reader)


def test_numbers_words_and_text_are_read_as_they_look() -> None:
    text = (
        "a: 30\nb: -1\nc: 1e6\nd: .5\ne: 2.\nf: true\ng: ~\nh: '30'\ni: 1:30\nj: 2026-12-24\nk: \"yes\"\nl: y\n"
        "m: |\n  two\n  lines\n1: one\non: off_\nn: [1, {o: +5}]\np: \ufeffx\n"
    )
    data, lines = reading.parse("\ufeff".join(["", ""]) + text, "x.yml")
    assert data == {
        "a": 30, "b": -1, "c": 1e6, "d": 0.5, "e": 2.0, "f": True, "g": None, "h": "30", "i": "1:30", "j": "2026-12-24",
        "k": "yes", "l": "y", "m": "two\nlines\n", "1": "one", "on": "off_", "n": [1, {"o": 5}], "p": "\ufeffx",
    }  # fmt: skip
    assert lines[("n", 1, "o")] == 18


def test_mistakes_are_counted_where_they_are_many() -> None:
    from relocate.schedule.config import parse

    with pytest.raises(Refusal) as refused:
        parse("".join(f"key{n}: 1\n" for n in range(100)), "x")
    lines = str(refused.value).splitlines()
    assert len(lines) == reading.MISTAKES + 1 and lines[-1] == "x: and 80 mistakes more."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0,1\n1\n", ":2: the row has 1 numbers, and hosts is 2"),
        ("0,1\n", ":1: the file has 1 rows of numbers, and hosts is 2"),
        ("0,1\nnan,0\n", ":2: column 1 is 'nan': a finite number is needed"),
        ("0,1\n1,1e999\n", ":2: column 2 is '1e999': a finite number is needed"),
        ("0,1\n1,1_0\n", ":2: column 2 is '1_0': a finite number is needed"),
        ("0,1\n1,١\n", ":2: column 2 is '١': a finite number is needed"),
        ('0,1\n1,"2', ":2: this is no row of CSV"),
        ("0,1\n1," + "9" * 200_000 + "\n", ":2: this is no row of CSV: field larger than field limit (131072)"),
        ("", ":1: the file has 0 rows"),
    ],
)
def test_a_matrix_is_read_by_the_same_reader(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(text, encoding="utf-8")
    file = tmp_path / "s.yml"
    given = SIMULATE | {"hosts": 2, "attackers": 1, "destination": {"policy": "paper", "delta": "d.csv"}}
    file.write_text(yaml.safe_dump(given))
    refusal = run("simulate", file).exception
    assert isinstance(refusal, Refusal) and refusal.status == 1
    assert f"{tmp_path}/d.csv{said}" in str(refusal) and len(str(refusal)) < 600
