# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input, generated from the declarations themselves: a sentence for each mistake, never a traceback, nothing begun.

Every key of the three files gets every value of a list: wrong types, empty, huge, control
characters, half characters, templates. A new key is tried without a line here. The numbers are printed (pytest -s).
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from relocate import reading
from relocate.errors import Refusal
from relocate.model.clock_plan.spec import PlanFile
from relocate.model.simulate.spec import Simulation
from relocate.schedule.settings import Configuration
from tests.unit.bad_values import NUMBERS, OTHERS, TEXTS

TIMED = {"family": "fixed", "mean": 600.0}
BASES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "schedule": (Configuration, {"fleet": "a"}),
    "simulate": (
        Simulation,
        {
            "hosts": 6,
            "attackers": 2,
            "attack": TIMED,
            "clock": {"kind": "poisson", "rate": 0.5},
            "horizon": 5,
            "trials": 10,
        },
    ),
    "plan": (
        PlanFile,
        {"fleet": {"hosts": 6, "attackers": 2}, "attack": TIMED, "goal": {"horizon": "1 d", "survival": 0.9}},
    ),
}
#: Keys of mappings that their models take whole.
FREE: dict[str, tuple[str, ...]] = {
    "clock": ("kind", "rate", "ceiling", "low", "lambda", "threshold", "tick", "period", "shape", "x\x1b[2J"),
    "running_clock": ("kind", "rate"),
    "destination": ("policy", "mode", "weights", "beta", "min_entropy_bits", "include", "exclude", "headroom"),
    "variables": ("x", "{{ x }}", ""),
    "groups": ("web", "\x1b", ""),
}
SENTENCE = re.compile(r"f\.yml:[0-9]+: .{10,}\.|f\.yml: and [0-9]+ mistakes more\.")


def models(annotation: Any) -> Iterator[tuple[bool, type[BaseModel]]]:
    """Yield the models in a type, each with whether it stands in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield False, annotation
        return
    for part in typing.get_args(annotation):
        for listed, model in models(part):
            yield listed or typing.get_origin(annotation) is list, model


def keys(model: type[BaseModel], place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every key of a file, and of one that is none in each section."""
    yield (*place, "no such key")
    for name, field in model.model_fields.items():
        here = (*place, field.alias or name)
        yield here
        for listed, inner in models(field.annotation):
            yield from keys(inner, (*here, 0) if listed else here)
        for free in FREE.get(name, ()):
            yield (*here, free)


def changed(base: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the document with a value at a place, and sections made where there are none."""
    document = copy.deepcopy(base)
    at: Any = document
    for part, following in itertools.pairwise(place):
        fresh: Any = [{}] if following == 0 else {}
        if not isinstance(part, int) and not isinstance(at.get(part), type(fresh)):
            at[part] = fresh
        at = at[part]
    at[place[-1]] = value
    return document


@pytest.mark.parametrize("command", BASES)
@pytest.mark.filterwarnings("error")
def test_every_key_with_every_bad_value(command: str) -> None:
    model, base = BASES[command]
    places = sorted(set(keys(model)), key=str)
    tried = taken = 0
    for place in places:
        for value in [*TEXTS, *NUMBERS, *OTHERS]:
            text = json.dumps(changed(base, place, value))  # JSON is YAML
            tried += 1
            try:
                reading.validate(text, "f.yml", model)
                taken += 1
            except Refusal as refusal:
                assert refusal.status == 1, (place, value)
                for line in str(refusal).splitlines():
                    assert SENTENCE.fullmatch(line), (place, str(value)[:60], line)
                    assert line.isprintable() and len(line) < 600, (place, str(value)[:60], line[:700])
            except Exception as error:
                raise AssertionError((place, str(value)[:60])) from error
    assert len(places) > 25 and taken < tried / 2
    print(
        f"\n{command}: {len(places)} keys, {tried} bad inputs tried, {tried - taken} refused, {taken} were good after all"
    )
