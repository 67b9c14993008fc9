# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server on loopback that answers as AWX's job-launch interface is documented to. It is not AWX.

The shapes are those of AWX's own descriptions of its endpoints (job_template_launch, job_cancel, prompting) and of what
awx.awx's modules rely on: the launch document, the launch's 201 with ``job`` and ``ignored_fields``, the job with ``status``,
``event_processing_finished`` and ``artifacts``, lists in pages with ``count``, ``next`` and ``results``.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "v3ry-s3cret"
ACTION = "relocate.mtd.container_relocate"

LAUNCH: dict[str, Any] = {
    "can_start_without_user_input": False,
    "passwords_needed_to_start": [],
    "ask_scm_branch_on_launch": False,
    "ask_variables_on_launch": True,
    "ask_tags_on_launch": False,
    "ask_diff_mode_on_launch": False,
    "ask_skip_tags_on_launch": False,
    "ask_job_type_on_launch": False,
    "ask_limit_on_launch": True,
    "ask_verbosity_on_launch": False,
    "ask_inventory_on_launch": False,
    "ask_credential_on_launch": False,
    "survey_enabled": False,
    "variables_needed_to_start": [],
    "credential_needed_to_start": False,
    "inventory_needed_to_start": False,
    "job_template_data": {"name": "relocate", "id": 7, "description": ""},
    "defaults": {"extra_vars": "", "limit": "", "inventory": {"name": "fleet", "id": 2}},
}


def job_document(number: int, status: str, **rest: Any) -> dict[str, Any]:
    """Return a job as ``/jobs/N/`` shows it, less what nobody reads here."""
    ended = status in ("successful", "failed", "error", "canceled")
    return {
        "id": number,
        "type": "job",
        "url": f"/api/v2/jobs/{number}/",
        "name": "relocate",
        "status": status,
        "failed": status in ("failed", "error", "canceled"),
        "started": None if status in ("new", "pending", "waiting") else "2026-11-20T10:00:00.000000Z",
        "finished": "2026-11-20T10:00:09.000000Z" if ended else None,
        "elapsed": 9.0 if ended else 0.0,
        "job_explanation": "",
        "result_traceback": "",
        "event_processing_finished": ended,
        "artifacts": {},
        **rest,
    }


def event(counter: int, kind: str, action: str, result: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """Return a job event as ``/jobs/N/job_events/`` shows it."""
    return {
        "id": 1000 + counter,
        "type": "job_event",
        "event": kind,
        "counter": counter,
        "event_data": {"task": "Relocate web", "task_action": action, "res": result, "host": "localhost", **data},
        "failed": kind == "runner_on_failed",
        "task": "Relocate web",
    }


@dataclass
class Awx:
    """What the server has, and what it was asked. ``statuses`` is what a job goes through, one a question."""

    base: str = "/api/v2/"
    launch: dict[str, Any] = field(default_factory=lambda: dict(LAUNCH))
    survey: list[dict[str, Any]] = field(default_factory=list)
    ignored: dict[str, Any] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=lambda: ["pending", "waiting", "running", "successful"])
    artifacts: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)  # statuses with which the next questions about the job are answered
    lose_launch: bool = False  # launch, and hang up without an answer
    page_size: int = 200
    on_get_job: Any = None
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    posted: list[dict[str, Any]] = field(default_factory=list)
    cancelled: bool = False

    def get(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Answer a GET below the base path."""
        if path == "job_templates/":
            found = [{"id": 7, "name": "relocate"}] if query["name"] == ["relocate"] else []
            return 200, {"count": len(found), "next": None, "previous": None, "results": found}
        if path == "job_templates/7/launch/":
            return 200, self.launch
        if path == "job_templates/7/survey_spec/":
            return 200, {"name": "", "description": "", "spec": self.survey}
        if path == "job_templates/7/jobs/":
            jobs = [job_document(40, "successful", extra_vars="--- no JSON")]
            jobs += [job_document(41, "running", extra_vars=json.dumps(p.get("extra_vars", {}))) for p in self.posted]
            return 200, {"count": len(jobs), "next": None, "previous": None, "results": jobs}
        if path == "jobs/41/":
            return self._job()
        if path == "jobs/41/job_events/":
            return 200, self._events(query)
        return 404, {"detail": "The requested resource could not be found."}

    def _job(self) -> tuple[int, dict[str, Any]]:
        if self.on_get_job:
            self.on_get_job()
        if self.faults:
            return self.faults.pop(0), {"detail": "gone for a moment"}
        if self.cancelled:
            return 200, job_document(41, "canceled", started=None)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return 200, job_document(41, status, artifacts=self.artifacts)

    def _events(self, query: dict[str, list[str]]) -> dict[str, Any]:
        kinds = (query.get("event__in") or query["event"])[0].split(",")
        found = [one for one in self.events if one["event"] in kinds]
        page = int(query["page"][0])
        size = min(self.page_size, int(query["page_size"][0]))
        shown = found[(page - 1) * size : page * size]
        more = f"{self.base}jobs/41/job_events/?page={page + 1}" if page * size < len(found) else None
        return {"count": len(found), "next": more, "previous": None, "results": shown}

    def post(self, path: str, document: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        """Answer a POST; None for no answer at all."""
        if path == "job_templates/7/launch/":
            self.posted.append(document)
            if self.lose_launch:
                return 0, None
            return 201, {"job": 41, "ignored_fields": self.ignored, **job_document(41, "pending")}
        if path == "jobs/41/cancel/":
            self.cancelled = True
            return 202, {}
        return 404, {"detail": "The requested resource could not be found."}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    awx: Awx

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _path(self) -> str | None:
        """Return the path below the base; None when it was answered already."""
        split = urlsplit(self.path)
        self.awx.asked.append((self.command, split.path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"detail": "Authentication credentials were not provided."})
            return None
        if not split.path.startswith(self.awx.base):
            self._answer(404, {"detail": "The requested resource could not be found."})
            return None
        return split.path.removeprefix(self.awx.base)

    def do_GET(self) -> None:
        """Answer a question."""
        path = self._path()
        if path is not None:
            self._answer(*self.awx.get(path, parse_qs(urlsplit(self.path).query)))

    def do_POST(self) -> None:
        """Answer a demand."""
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self._path()
        if path is None:
            return
        status, answer = self.awx.post(path, document)
        if answer is None:
            self.close_connection = True
            return
        self._answer(status, answer)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(awx: Awx, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on loopback for the time of a test; gives the address."""
    handler = type("Handler", (_Handler,), {"awx": awx})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
