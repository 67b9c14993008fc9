# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rehearsing a failure: make one part of the next relocation fail at one line of its journal.

An operator who wants to see what a failure does, and the tests that see what each of them does, leave an order on the host
whose part shall fail, before the relocation begins. ``/run/relocate/faults.json``, root's and writable by root alone::

    {"part": "destination", "state": "prepared", "moment": "after", "do": "kill"}

``moment`` is ``before`` or ``after`` the line's fsync. ``do`` is one of

``kill``
    SIGKILL to the part's process; its guardian starts it again.
``kill-guardian``
    SIGKILL to the guardian and to the part: nothing starts it again, ``relocate recover`` has to settle what is left.
``fail``
    The step raises an error, as it would on a full disk.
``hang``
    The part stands still for ``seconds`` (default 5).
``pause``
    The part stands still until ``/run/relocate/paused`` is removed, ``seconds`` at the longest. It makes that file itself: who
    waits for it knows that the moment has come, and can break something else on the host or beside it.

An order is obeyed once: it is removed before it is carried out. Without an order this costs one look for the file when a part
begins, and nothing in the freeze.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import time
from dataclasses import dataclass, fields

from ..host import paths
from .states import State
from .words import shown

MOMENTS = ("before", "after")
DEEDS = ("kill", "kill-guardian", "fail", "hang", "pause")
PARTS = ("source", "destination", "edge", "standby")
LOOK_SECONDS = 0.01
MOST_SECONDS = 86400.0
LONGEST = 1 << 16  # characters of an order


class InjectedFault(RuntimeError):
    """What ``fail`` raises."""


@dataclass(frozen=True)
class Order:
    """Which part shall fail, at which line of its journal, and how."""

    part: str
    state: str
    moment: str
    do: str
    seconds: float = 5.0


_order: Order | None = None  # this process's, read once


def path() -> str:
    """Return where the order lies."""
    return f"{paths.RUN}/faults.json"


def pause_path() -> str:
    """Return the file that is there while a part is paused."""
    return f"{paths.RUN}/paused"


def read() -> Order | None:
    """Return the order left on this host, if there is one.

    :raises ValueError: it is not one that can be obeyed, or others than root could have left it.
    """
    try:
        with open(path(), encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ValueError(f"{path()} must belong to root and be writable by root alone: remove it")
            document = json.loads(file.read(LONGEST))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path()} is not JSON ({error}): mend it or remove it") from error
    names = {field.name for field in fields(Order)}
    if not isinstance(document, dict) or not names - {"seconds"} <= set(document) <= names:
        raise ValueError(f"{path()} must have part, state, moment and do (and may have seconds): mend it or remove it")
    order = Order(**document)
    seconds = order.seconds
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= MOST_SECONDS:
        raise ValueError(f"{path()}: seconds is {shown(seconds)}, and must be a number from 0 to {MOST_SECONDS:g}")
    for given, known, what in (
        (order.part, PARTS, "part"),
        (order.state, tuple(state.value for state in State), "state"),
        (order.moment, MOMENTS, "moment"),
        (order.do, DEEDS, "do"),
    ):
        if given not in known:
            raise ValueError(f"{path()}: {what} is {shown(given)}, and must be one of {', '.join(known)}")
    return order


def arm(part: str) -> None:
    """Look once whether ``part`` shall fail. Called where a part begins. :raises ValueError: see :func:`read`."""
    global _order
    order = read()
    _order = order if order and order.part == part else None


def strike(part: str, state: State, moment: str) -> None:
    """Fail here if that was ordered. Called by the journal around every line.

    :raises InjectedFault: when the order is ``fail``.
    """
    global _order
    if _order is None or (_order.part, _order.state, _order.moment) != (part, state.value, moment):
        return
    order, _order = _order, None
    try:
        os.unlink(path())
    except FileNotFoundError:  # taken back meanwhile, or obeyed by another relocation
        return
    print(f"rehearsal: {order.do} {moment} {state.value}", flush=True)
    if order.do == "kill-guardian":
        os.kill(os.getppid(), signal.SIGKILL)
    if order.do.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if order.do == "hang":
        time.sleep(order.seconds)
    if order.do == "pause":
        _pause(order)
    if order.do == "fail":
        raise InjectedFault(f"a rehearsed failure {moment} '{state.value}'")


def _pause(order: Order) -> None:
    """Show that the moment has come; return when somebody has removed the sign, or has taken too long."""
    deadline = time.monotonic() + order.seconds
    with open(pause_path(), "w", encoding="utf-8") as file:
        file.write(f"{order.part} {order.moment} {order.state}\n")
    while os.path.exists(pause_path()) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(pause_path())
