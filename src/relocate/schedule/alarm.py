# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells somebody that a breaker has opened or a host was lost: a webhook, a command, or both. Never holds the service up."""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import urllib.request
from typing import Any

from relocate.schedule.limits import Opened
from relocate.schedule.records import iso
from relocate.schedule.settings import Alerts

LOG = logging.getLogger("relocate.schedule")


def document(fleet: str, opened: Opened, at: float) -> dict[str, Any]:
    """Return the alert as JSON-ready data."""
    return {
        "event": "breaker-opened",
        "fleet": fleet,
        "host": opened.host,
        "failures": opened.failures,
        "seconds": opened.seconds,
        "at": iso(at),
        "message": f"{opened.failures} relocations in a row failed on {opened.host}: its containers stay for "
        f"{opened.seconds:g} s, then one is tried",
    }


def raise_alarm(settings: Alerts, fleet: str, opened: Opened, at: float) -> list[threading.Thread]:
    """Log it, and start telling it; return the threads that do."""
    told = document(fleet, opened, at)
    LOG.error("%s", told["message"], extra={"host": opened.host, "failures": opened.failures})
    return tell(settings, told)


def tell(settings: Alerts, told: dict[str, Any]) -> list[threading.Thread]:
    """Start telling a document; return the threads that do."""
    text = json.dumps(told)
    threads = []
    if settings.webhook:
        threads.append(threading.Thread(target=_post, args=(settings.webhook, text, settings.timeout), daemon=True))
    if settings.command:
        threads.append(threading.Thread(target=_run, args=(settings.command, text, settings.timeout), daemon=True))
    for thread in threads:
        thread.start()
    return threads


def _post(url: str, text: str, timeout: float) -> None:
    request = urllib.request.Request(
        url, text.encode(), {"Content-Type": "application/json"}
    )  # http(s) by the settings
    try:
        urllib.request.urlopen(request, timeout=timeout).close()
    except (OSError, ValueError) as error:
        LOG.error("the alert could not be sent to the webhook: %s", error)


def _run(command: list[str], text: str, timeout: float) -> None:
    try:
        done = subprocess.run(
            command, input=text, text=True, capture_output=True, timeout=timeout, check=False, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        LOG.error("the alert's command %s failed: %s", command[0], error)
        return
    if done.returncode:
        LOG.error("the alert's command %s ended with status %d: %s", command[0], done.returncode, done.stderr.strip())
