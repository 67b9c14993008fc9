# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells a repository that asks for a password: what C(docker login) has written for root on this very host.

The daemon knows no passwords: whoever asks it for an image gives it one along. Here it goes from that file into the header of
one request over Docker's socket: into no argument, log, journal or result. Standard library only, Python 3.9.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
from typing import Any

#: In the home of whoever asks, who is root.
FILE = ".docker/config.json"
HEADER = "X-Registry-Auth"
MOST_BYTES = 1 << 20
#: The name of Docker's own repository in that file.
DOCKER_HUB = "https://index.docker.io/v1/"


def headers(image: str) -> dict[str, str]:
    """Return the header with which an image is asked for; none if the host has no password for its repository."""
    place = repository(image)
    entry = _stored().get(place)
    words = _words(entry) if isinstance(entry, dict) else {}
    if not words:
        return {}
    return {HEADER: base64.urlsafe_b64encode(json.dumps({**words, "serveraddress": place}).encode()).decode()}


def repository(image: str) -> str:
    """Return the name of an image's repository, as Docker writes it into its file."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else DOCKER_HUB


def _stored() -> dict[str, Any]:
    """Return the entries by repository; nothing where the file is not there, or is none of Docker's."""
    try:
        with open(os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, FILE), "rb") as file:
            found = json.loads(file.read(MOST_BYTES))
    except (OSError, KeyError, ValueError, RecursionError):
        return {}
    entries = found.get("auths") if isinstance(found, dict) else None
    return entries if isinstance(entries, dict) else {}


def _words(entry: dict[str, Any]) -> dict[str, str]:
    """Return name and password of an entry, or the token that stands for them."""
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return {"identitytoken": token}
    try:
        name, colon, password = base64.b64decode(str(entry.get("auth") or "")).decode().partition(":")
    except ValueError:
        return {}
    return {"username": name, "password": password} if colon else {}
