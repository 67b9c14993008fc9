# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log's two forms, and that neither tells what is to come."""

from __future__ import annotations

import io
import json
import logging

import pytest

from relocate.schedule import logs


def said(form: str, message: str, **extra: object) -> str:
    """Return what is written of a message."""
    stream = io.StringIO()
    logs.setup(form, stream=stream).info(message, extra=extra)  # type: ignore[arg-type]
    return stream.getvalue()


def test_json_has_one_object_a_line() -> None:
    """With what was passed beside the message."""
    line = json.loads(said("json", "moved\nweb", container="web", downtime_ms=80.5))
    assert line["message"] == "moved\nweb" and line["level"] == "info"
    assert (line["container"], line["downtime_ms"]) == ("web", 80.5)
    assert line["at"].endswith("+00:00")


@pytest.mark.parametrize("form", ["text", "json"])
def test_due_times_are_dropped(form: str) -> None:
    """Whoever passes them."""
    line = said(form, "armed", container="web", due_at=1234.5, next_due=99, remaining=7.25)
    assert "web" in line
    for secret in ("1234", "due", "99", "7.25"):
        assert secret not in line.partition("armed")[2]


def test_text_stays_on_its_line() -> None:
    """A container's name with a line break writes no second entry."""
    written = said("text", "moved", container="a\n2026-01-01 info moved b\x1b[31m")
    assert written.count("\n") == 1 and "\\n2026" in written and "\x1b" not in written


def test_exceptions_are_kept() -> None:
    """As a field, or below the line."""
    for form in ("text", "json"):
        stream = io.StringIO()
        logger = logs.setup(form, stream=stream)  # type: ignore[arg-type]
        try:
            raise ValueError("out of luck")
        except ValueError:
            logger.exception("failed")
        assert "ValueError: out of luck" in stream.getvalue()
        if form == "json":
            assert "out of luck" in json.loads(stream.getvalue())["error"]


def test_a_reload_replaces_what_was_set() -> None:
    """No line twice, and the new level counts."""
    first, second = io.StringIO(), io.StringIO()
    logs.setup("text", stream=first)
    logger = logs.setup("text", "warning", second)
    logger.info("quiet")
    logger.warning("loud")
    assert first.getvalue() == "" and second.getvalue().count("loud") == 1 and "quiet" not in second.getvalue()
    assert logger is logging.getLogger(logs.LOGGER) and not logger.propagate
