"""A kernel setting that several labs share: raised by the first that needs it, put back by the last."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "roles/lab/library/lab_kernel_setting.py"


def _load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("lab_kernel_setting", PATH)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Machine:
    """A machine with one setting, and the labs on it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "sys/fs/pipe-max-size"
        self.file.parent.mkdir(parents=True)
        self.file.write_text("1048576\n")
        self.raised = directory / "settings"
        self.setting: Any = _load().Setting("fs.pipe-max-size", str(directory / "sys"), str(self.raised))

    def up(self, lab: str, least: int = 4194304) -> bool:
        """Bring a lab up; return whether that changed something."""
        if not self.setting.needs_raising(least, lab):
            return False
        self.setting.raise_to(least, lab)
        return True

    def down(self, lab: str) -> bool:
        """Take a lab down; return whether that changed something."""
        if not self.setting.is_needed_by(lab):
            return False
        self.setting.give_back(lab)
        self.setting.tidy()
        return True

    @property
    def value(self) -> int:
        """The setting."""
        return int(self.file.read_text())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine whose setting is too low."""
    return Machine(tmp_path)


def test_it_is_raised_once_and_put_back_without_a_trace(machine: Machine) -> None:
    assert machine.up("lab") and machine.value == 4194304
    assert not machine.up("lab")
    assert machine.down("lab") and machine.value == 1048576
    assert not machine.raised.exists()
    assert not machine.down("lab")


def test_the_last_lab_puts_it_back(machine: Machine) -> None:
    assert machine.up("one") and machine.up("two") and not machine.up("two")
    assert machine.down("one") and machine.value == 4194304
    assert machine.down("two") and machine.value == 1048576


def test_what_is_high_enough_is_left_alone(machine: Machine) -> None:
    machine.file.write_text("8388608")
    assert not machine.up("lab") and not machine.down("lab")
    assert machine.value == 8388608 and not machine.raised.exists()


def test_what_somebody_else_has_set_since_is_left_alone(machine: Machine) -> None:
    machine.up("lab")
    machine.file.write_text("16777216")
    assert machine.down("lab") and machine.value == 16777216 and not machine.raised.exists()


def test_what_somebody_has_lowered_since_is_raised_again(machine: Machine) -> None:
    machine.up("lab")
    machine.file.write_text("65536")
    assert machine.up("lab") and machine.value == 4194304
    assert machine.down("lab") and machine.value == 1048576
