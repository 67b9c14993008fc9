# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application for gunicorn and its pre-forked workers; each has a number of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

count = itertools.count(1)


def app(environ: dict, start: Callable[[str, list], object]) -> Iterable[bytes]:
    """Answer with the client's number, and how many requests this worker had."""
    body = f"{environ['QUERY_STRING'].partition('n=')[2]} {next(count)}".encode()
    start("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]
