# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST interface of AWX, or of Automation Platform's controller: the few calls that launching and following a job takes."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import Any

import httpx
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

from relocate.errors import Refusal
from relocate.move import events
from relocate.schedule.launchers.settings import AwxSettings

TOKEN = "RELOCATE_AWX_TOKEN"


class Unreachable(Exception):
    """No answer. ``sent`` says whether the request may have been received all the same."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Denied(Exception):
    """An answer that refuses: its status and what it said."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def read_token(settings: AwxSettings) -> str:
    """Return the token from the file or from RELOCATE_AWX_TOKEN. Raises Refusal (status 2) without one."""
    if settings.token_file is None:
        token = os.environ.get(TOKEN, "").strip()
        if not token:
            raise Refusal(f"the awx launcher has no token: name a file with launcher.token_file, or set {TOKEN}", 2)
        return token
    try:
        token = settings.token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"launcher.token_file {settings.token_file} cannot be read: {error}", 2) from None
    if not token:
        raise Refusal(f"launcher.token_file {settings.token_file} is empty: put an OAuth 2 token into it", 2)
    return token


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return what the server's certificate is checked against: the system's authorities, or ``ca_file`` alone."""
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise Refusal(f"launcher.ca_file {ca_file} is not a file of certificates: {error}", 2) from None


class Controller:
    """Makes requests and turns what can go wrong into :class:`Unreachable` and :class:`Denied`. Safe to share by threads."""

    def __init__(self, settings: AwxSettings) -> None:
        self.host = settings.url
        self._base = settings.url.rstrip("/") + settings.base_path
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {read_token(settings)}", "Accept": "application/json"},
            timeout=settings.timeout,
            verify=trust(settings.ca_file),
            follow_redirects=False,  # a redirect would take the token elsewhere
        )

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Return the document at ``path`` (below the base path)."""
        return self._call("GET", path, params=query)

    def post(self, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Post ``document`` and return the answer; {} for an answer without a body."""
        return self._call("POST", path, json=document or {})

    def template(self, wanted: int | str) -> int:
        """Return the number of a job template. Raises Denied for a name that no or several templates have."""
        if isinstance(wanted, int):
            return wanted
        found = self.get("job_templates/", name=wanted)
        number = next((events.whole(each.get("id")) for each in events.rows(found, "results")), None)
        if found.get("count") != 1 or number is None:
            raise Denied(
                f"{self.host} has {shown(found.get('count', 'no'))[:80]} job templates named {wanted!r} that this token may "
                "see: name one by its number",
                404,
            )
        return number

    def _call(self, method: str, path: str, **rest: Any) -> dict[str, Any]:
        try:
            answer = self._client.request(method, self._base + path, **rest)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise Unreachable(f"{self.host} cannot be reached: {error}", sent=False) from None
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.host} gave no answer: {type(error).__name__}: {error}", sent=True) from None
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            # a gateway's 502 or 504 says nothing about what became of the request behind it
            raise Unreachable(f"{self.host} answers {answer.status_code} to {path}", sent=answer.status_code >= 500)
        if answer.status_code >= 300:
            raise Denied(f"{self.host} answers {answer.status_code} to {path}: {_said(answer)}", answer.status_code)
        try:
            document = answer.json() if answer.content else {}
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Denied(f"{self.host} answers {path} with something else than JSON: check launcher.base_path", 200)
        return document


def _said(answer: httpx.Response) -> str:
    """Return what an error's body says, in one line."""
    if answer.is_redirect:
        return f"it sends elsewhere ({shown(answer.headers.get('location'))[:300]}): check launcher.url and launcher.base_path"
    if answer.status_code == 401:
        return "the token is not accepted: make a new one, with write scope"
    if answer.status_code == 403:
        return "the token's user may not do this: give it the Execute role on the job template"
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        return "no reason given: check launcher.base_path" if answer.status_code == 404 else "no reason given"
    detail = document.get("detail") if isinstance(document, dict) else None
    return shown(detail if detail else json.dumps(document))[:300]
