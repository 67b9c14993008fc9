# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules against tables: parameters, the commands they are expected to run with the answers they get, the result."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.relocate.mtd.plugins.module_utils import _paths

PACKAGE = "ansible_collections.relocate.mtd.plugins.modules"


class Ended(BaseException):
    """The module has said its last word. No module may catch it."""

    def __init__(self, failed: bool, result: dict[str, Any]) -> None:
        """Keep the result."""
        super().__init__(result)
        self.failed = failed
        self.result = result


class Script:
    """The commands a module is expected to run, in order, and what each answers."""

    def __init__(self, steps: list[dict[str, Any]], directory: Path) -> None:
        """Expect ``steps`` (``run``, ``stdin``, ``rc``, ``out``, ``err``); ``{tmp}`` in them is ``directory``."""
        self.directory = str(directory)
        self.steps = steps
        self.done = 0

    def fill(self, text: str) -> str:
        """Return text with the test's directory put in."""
        return text.replace("{tmp}", self.directory)

    def run_command(
        self, _module: Any, argv: list[str], data: str | None = None, **_options: Any
    ) -> tuple[int, str, str]:
        """Stand in for ``AnsibleModule.run_command``."""
        ran = shlex.join(argv)
        assert self.done < len(self.steps), f"one command more than expected: {ran}\n{data or ''}"
        step = self.steps[self.done]
        self.done += 1
        assert ran == self.fill(step["run"])
        if "stdin" in step:
            assert (data or "").strip() == self.fill(step["stdin"]).strip()
        return step.get("rc", 0), self.fill(step.get("out", "")), step.get("err", "")


@pytest.fixture
def run_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Ended]]:
    """Return a function that runs a module with parameters and a script, and returns how it ended."""

    def end(failed: bool) -> Callable[..., None]:
        def stand_in(_module: Any, *_arguments: Any, **result: Any) -> None:
            raise Ended(failed, result)

        return stand_in

    def find(_module: Any, name: str, *_arguments: Any, **_options: Any) -> str:
        return name

    def run(name: str, parameters: dict[str, Any], script: Script, check: bool = False) -> Ended:
        monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda *args, **kw: script.run_command(*args, **kw))
        module = importlib.import_module(f"{PACKAGE}.{name}")
        with patch_module_args({**parameters, "_ansible_check_mode": check}), pytest.raises(Ended) as ended:
            module.main()
        assert script.done == len(script.steps), f"not run: {script.steps[script.done]['run']}"
        return ended.value

    monkeypatch.setattr(_paths, "EDGE", str(tmp_path))
    monkeypatch.setattr(_paths, "FENCES", str(tmp_path / "fences"))
    monkeypatch.setattr(basic.AnsibleModule, "exit_json", end(False))
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", end(True))
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", find)
    yield run
