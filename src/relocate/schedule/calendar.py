# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When moves may be made: weekly maintenance windows, less blackouts, in a time zone. Pure; moments are epoch seconds."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from relocate.reading import shown

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: How far ahead an opening is looked for. A calendar without one in this time is refused.
HORIZON_DAYS = 400
#: Years of blackouts: there is a day after each of their days, in every time zone.
FIRST_YEAR, LAST_YEAR = 1971, 2200


class Window(BaseModel):
    """Moves are allowed from one time of day to another on some days; over midnight if ``to`` is not after ``from``."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    days: list[Day] = Field(default_factory=lambda: list(DAYS), min_length=1)
    start: time = Field(alias="from")
    end: time = Field(alias="to")

    @field_validator("start", "end", mode="before")
    @classmethod
    def _time_of_day(cls, value: object) -> time:
        if isinstance(value, time):
            return value
        match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?(.*)", str(value), re.ASCII)
        if match is None or not isinstance(value, str):
            raise ValueError(f'{shown(value)} is no time of day: write it as "22:00", in quotes')
        if match[4]:
            raise ValueError("a time of day takes no offset: the time zone is limits.timezone")
        return time(int(match[1]), int(match[2]), int(match[3] or 0))

    @model_validator(mode="after")
    def _not_empty(self) -> Window:
        if self.start == self.end:
            raise ValueError(
                f"a window from {self.start} to {self.end} is empty or a day long: say which, as 00:00 to 23:59"
            )
        return self


class Blackout(BaseModel):
    """No moves from one day to another, both included, or from one moment to another."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: date | datetime = Field(alias="from", union_mode="left_to_right")
    end: date | datetime = Field(alias="to", union_mode="left_to_right")

    @model_validator(mode="after")
    def _in_order(self) -> Blackout:
        for when in (self.start, self.end):
            if not FIRST_YEAR <= when.year <= LAST_YEAR:
                raise ValueError(f"the year {when.year} is far off: blackouts lie between {FIRST_YEAR} and {LAST_YEAR}")
        if _moment(self.start, ZoneInfo("UTC"), False) >= _moment(self.end, ZoneInfo("UTC"), True):
            raise ValueError("a blackout ends after it begins")
        return self


def _moment(when: date | datetime, zone: ZoneInfo, end: bool) -> float:
    """Return epoch seconds; a date stands for its first moment, or as an end for the first of the next day."""
    if isinstance(when, datetime):
        return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
    return datetime.combine(when + timedelta(days=1) if end else when, time(), zone).timestamp()


class Calendar:
    """Open and closed times. Without windows every moment outside the blackouts is open."""

    def __init__(self, zone: str, windows: Sequence[Window], blackouts: Sequence[Blackout]) -> None:
        """Raises ValueError for an unknown zone."""
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"the time zone {shown(zone)} is unknown: use a name such as Europe/Berlin") from None
        self._windows = tuple(windows)
        self._closed = sorted(
            (_moment(b.start, self._zone, False), _moment(b.end, self._zone, True)) for b in blackouts
        )

    @property
    def always_open(self) -> bool:
        """Whether there is nothing to keep to."""
        return not self._windows and not self._closed

    def is_open(self, at: float) -> bool:
        """Whether a move may begin at ``at``."""
        return self._blackout_end(at) is None and (not self._windows or self._in_window(at))

    def next_open(self, at: float) -> float | None:
        """Return the first open moment from ``at`` on; None if there is none within :data:`HORIZON_DAYS`."""
        limit = at + HORIZON_DAYS * 86400
        while at < limit:
            if (until := self._blackout_end(at)) is not None:
                at = until
            elif not self._windows or self._in_window(at):
                return at
            else:
                opening = self._next_start(at)
                if opening is None:
                    return None
                at = opening
        return None

    def _blackout_end(self, at: float) -> float | None:
        for start, end in self._closed[: bisect.bisect_right(self._closed, (at, float("inf")))]:
            if start <= at < end:
                return end
        return None

    def _spans(self, day: date) -> list[tuple[float, float]]:
        """Return the windows that begin on a day, as moments."""
        spans = []
        for window in self._windows:
            if DAYS[day.weekday()] in window.days:
                last = day if window.end > window.start else day + timedelta(days=1)
                start = datetime.combine(day, window.start, self._zone).timestamp()
                spans.append((start, datetime.combine(last, window.end, self._zone).timestamp()))
        return spans

    def _in_window(self, at: float) -> bool:
        today = datetime.fromtimestamp(at, self._zone).date()
        return any(start <= at < end for day in (today - timedelta(days=1), today) for start, end in self._spans(day))

    def _next_start(self, at: float) -> float | None:
        today = datetime.fromtimestamp(at, self._zone).date()
        for ahead in range(9):  # every window begins at least once in a week
            later = [start for start, _ in self._spans(today + timedelta(days=ahead)) if start > at]
            if later:
                return min(later)
        return None
