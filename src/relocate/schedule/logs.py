# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler's log: lines for people, or one JSON object a line. A due time gets into neither."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any, Literal, TextIO

from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

LOGGER = "relocate.schedule"
#: Names of extra fields that would tell when a container moves next. They are dropped, whoever passes them.
SECRET = frozenset({"due", "due_at", "next", "next_at", "next_due", "remaining"})
#: What every record has; the rest was passed with ``extra=``.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was passed with ``extra=``, less what must not be known."""
    return {name: value for name, value in vars(record).items() if name not in _USUAL and name not in SECRET}


def moment(record: logging.LogRecord) -> str:
    """Return when a record was made: ISO 8601, UTC, milliseconds."""
    made = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return made.isoformat(timespec="milliseconds")


class JsonFormatter(logging.Formatter):
    """One object a line: ``at``, ``level``, ``message``, then the extra fields; ``error`` for an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {"at": moment(record), "level": record.levelname.lower(), "message": record.getMessage()}
        line |= {name: value for name, value in fields(record).items() if name not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """``TIME LEVEL MESSAGE  NAME=VALUE …``; control characters are written as escapes, so that a line stays a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        extra = "  ".join(f"{name}={value}" for name, value in fields(record).items())
        line = f"{moment(record)} {record.levelname.lower():<7} {record.getMessage()}" + (f"  {extra}" if extra else "")
        return shown(line) + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


def setup(form: Literal["text", "json"] = "text", level: str = "info", stream: TextIO | None = None) -> logging.Logger:
    """Configure and return the scheduler's logger; a second call (a reload) replaces the first one's settings.

    Other libraries' loggers are left alone: what they might say of a run has not been looked through for due times.
    """
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    return logger
