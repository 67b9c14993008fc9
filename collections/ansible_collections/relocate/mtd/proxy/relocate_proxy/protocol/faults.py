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

An order is obeyed once: it is removed before it is carried out. Without an order this costs one look for the file when a part
begins, and nothing in the freeze.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from dataclasses import dataclass, fields

from ..host import paths
from .states import State

MOMENTS = ("before", "after")
DEEDS = ("kill", "kill-guardian", "fail", "hang")


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


def read() -> Order | None:
    """Return the order left on this host, if there is one.

    :raises ValueError: it is not one that can be obeyed, or others than root could have left it.
    """
    try:
        with open(path(), encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ValueError(f"{path()} must belong to root and be writable by root alone: remove it")
            document = json.load(file)
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path()} is not JSON ({error}): mend it or remove it") from error
    names = {field.name for field in fields(Order)}
    if not isinstance(document, dict) or not names - {"seconds"} <= set(document) <= names:
        raise ValueError(f"{path()} must have part, state, moment and do (and may have seconds): mend it or remove it")
    order = Order(**document)
    for given, known, what in (
        (order.state, tuple(state.value for state in State), "state"),
        (order.moment, MOMENTS, "moment"),
        (order.do, DEEDS, "do"),
    ):
        if given not in known:
            raise ValueError(f"{path()}: {what} is {given!r}, and must be one of {', '.join(known)}")
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
    if order.do == "fail":
        raise InjectedFault(f"a rehearsed failure {moment} '{state.value}'")
