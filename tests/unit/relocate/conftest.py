# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no test of the command may leave for the next one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from relocate.schedule import logs


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Undo what a test sets of the scheduler's log. The demonstration's tells errors alone."""
    logger = logging.getLogger(logs.LOGGER)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    for each in [each for each in logger.handlers if each not in handlers]:
        logger.removeHandler(each)
    logger.setLevel(level)
    logger.propagate = propagate
