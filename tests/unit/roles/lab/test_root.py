# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root file system is used when it is whole and not before, whatever became of the build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

# Stands for mmdebstrap: counts its runs, fills the directory it is given, and fails half-way while there is a file `broken`.
BUILDER = """\
#!/bin/sh
echo run >>{log}
for word in "$@"; do case $word in *.building) target=$word ;; esac; done
mkdir "$target" || exit 9
echo half >"$target/half"
[ ! -e {broken} ] || exit 1
sleep 0.3
echo whole >"$target/whole"
"""

PLAY = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.include_role": {"name": "lab", "tasks_from": "root.yml"}}],
    }
]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A cache directory, a play that builds one root file system into it, and the stand-in for mmdebstrap."""
    (tmp_path / "cache" / "roots").mkdir(parents=True)
    (tmp_path / "cache" / "users").mkdir()
    (tmp_path / "bin").mkdir()
    builder = tmp_path / "bin" / "mmdebstrap"
    builder.write_text(BUILDER.format(log=tmp_path / "log", broken=tmp_path / "broken"))
    builder.chmod(0o755)
    (tmp_path / "keyring.gpg").touch()
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    return tmp_path


def build(bench: Path) -> subprocess.Popen[str]:
    """Start the play."""
    variables = {
        "lab_suite": "trixie",
        "lab_cache_dir": str(bench / "cache"),
        "lab_state_dir": str(bench / "state"),
        "lab_mirror": "http://mirror.invalid/debian",
        "lab_keyring": str(bench / "keyring.gpg"),
        "ansible_python_interpreter": sys.executable,
    }
    # the lab that builds says first that it stands on what it builds: otherwise the result counts as unused
    roots = [str(path) for path in (bench / "cache" / "roots").glob("trixie-*")]
    (bench / "cache" / "users" / "me.json").write_text(json.dumps({"state": "/x", "roots": roots}))
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", bench / "play.yml"]
    return subprocess.Popen(
        [*command, "-e", json.dumps(variables)],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
            "PATH": f"{bench / 'bin'}:{os.environ['PATH']}",
        },
        cwd=bench,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(bench: Path) -> list[str]:
    """Return the contents of every root file system that counts as finished."""
    roots = [path for path in (bench / "cache" / "roots").glob("trixie-*") if path.suffix != ".building"]
    return sorted(entry.name for root in roots for entry in root.iterdir())


def recipe(bench: Path) -> Path:
    """Return the path under which the root file system will be declared finished, as a build that failed has shown it."""
    (building,) = (bench / "cache" / "roots").glob("*.building")
    return building.with_suffix("")


def test_a_build_that_failed_never_looks_finished_and_the_next_one_begins_anew(bench: Path) -> None:
    (bench / "broken").touch()
    first = build(bench)
    first.communicate(timeout=60)
    assert first.returncode != 0
    assert finished(bench) == []
    target = recipe(bench)
    (bench / "broken").unlink()
    (bench / "cache" / "users" / "you.json").write_text(json.dumps({"state": "/y", "roots": [str(target)]}))
    second = build(bench)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0, out
    assert sorted(path.name for path in target.iterdir()) == ["half", "whole"]
    assert finished(bench) == ["half", "whole"]
    third = build(bench)
    third.communicate(timeout=60)
    assert third.returncode == 0
    assert (bench / "log").read_text().count("run") == 2, "a finished root file system is not built again"


def test_two_labs_that_need_the_same_one_build_it_once(bench: Path) -> None:
    (bench / "broken").touch()
    probe = build(bench)
    probe.communicate(timeout=60)
    target = recipe(bench)
    (bench / "broken").unlink()
    (bench / "log").unlink()
    (bench / "cache" / "users" / "you.json").write_text(json.dumps({"state": "/y", "roots": [str(target)]}))
    both = [build(bench), build(bench)]
    for one in both:
        out, _ = one.communicate(timeout=60)
        assert one.returncode == 0, out
    assert (bench / "log").read_text().count("run") == 1
    assert finished(bench) == ["half", "whole"]
