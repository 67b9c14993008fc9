# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relocations as jobs of AWX or Automation Platform: launched from a template, followed to their end, their result read.

A template ignores ``limit`` and ``extra_vars`` silently unless it prompts for them on launch, or has a survey with these very
variables. A job that had lost them would move nothing, or something else: that is found out before the launch, and once more
from the answer.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

from relocate.move import events as documents
from relocate.move.relocation import RECOVER, RELOCATE
from relocate.schedule.launchers.base import LaunchError, Move, require_names
from relocate.schedule.launchers.controller import Controller, Denied, Unreachable
from relocate.schedule.launchers.outcome import CANCELLED, document
from relocate.schedule.launchers.settings import AwxSettings

NOT_STARTED = ("new", "pending", "waiting")  # nothing of the playbook has run
ENDED = ("successful", "failed", "error", "canceled")
EVENTS = "runner_on_ok,runner_on_failed"
ARTIFACT = "relocate_result"  # what playbooks/awx.yml hands over with set_stats
SLOWER = 1.5  # each question comes so much later than the last


class AwxLauncher:
    """Launches job templates. One instance serves all threads of the service."""

    name = "awx"

    def __init__(self, settings: AwxSettings) -> None:
        self._settings = settings
        self._controller = Controller(settings)

    def launch(self, move: Move, cancelled: threading.Event) -> dict[str, Any]:
        """Launch a job for ``move`` and return the relocation's result.

        ``cancelled`` cancels a job that has not started. One that runs is allowed to finish: whether it is inside the freeze
        cannot be told from here.
        """
        require_names(move)
        if cancelled.is_set():
            raise LaunchError(CANCELLED)
        job = self._start(self._settings.template, move.variables, move.id)
        ended = self._follow(job, cancelled)
        if ended is None:
            said = f"the job {job} had no end after {self._settings.patience:g} s"
            return document(move, {"outcome": "in-doubt", "msg": said, "job": job})
        result = self._result(job, ended, RELOCATE)
        if result is not None and "outcome" in result:
            return document(move, {**result, "job": job})
        if ended["status"] == "canceled" and ended.get("started") is None:
            raise LaunchError(CANCELLED)
        said = self._why(job, ended)
        if self._began(job):
            return document(move, {"outcome": "in-doubt", "msg": said, "job": job})
        raise LaunchError(said)

    def recover(self) -> dict[str, list[Any]]:
        """Launch the recovery template. Raises LaunchError when something could not be settled."""
        job = self._start(self._settings.recover_template, {}, None)
        ended = self._follow(job, threading.Event())
        if ended is None:
            raise LaunchError(f"the recovery, job {job}, had no end after {self._settings.patience:g} s")
        if ended["status"] != "successful":
            raise LaunchError(self._why(job, ended))
        result = self._result(job, ended, RECOVER)
        return {name: documents.items(result, name) for name in ("settled", "in_progress", "left")}

    # ---- launching

    def _start(self, template: int | str, variables: dict[str, Any], mark: str | None) -> int:
        """Launch a job and return its number; ``mark`` is the relocation's id, by which a job is found again."""
        asked: dict[str, Any] = {"extra_vars": variables} if variables else {}
        if self._settings.limit is not None:
            asked["limit"] = self._settings.limit
        try:
            number = self._controller.template(template)
            self._require_prompts(number, asked)
        except (Unreachable, Denied) as error:
            raise LaunchError(str(error)) from None
        try:
            answer = self._controller.post(f"job_templates/{number}/launch/", asked)
        except Denied as error:
            raise LaunchError(str(error)) from None
        except Unreachable as error:
            found = self._find(number, mark) if error.sent and mark else None
            if found is None:
                raise LaunchError(str(error)) from None
            return found
        job = documents.whole(answer.get("job") or answer.get("id"))
        if job is None:
            job = self._find(number, mark) if mark else None
        if job is None:
            raise LaunchError(f"the job template {number} was launched, and the answer does not say as which job")
        self._require_heeded(job, number, documents.part(answer, "ignored_fields"))
        return job

    def _require_prompts(self, number: int, asked: dict[str, Any]) -> None:
        """Refuse a template that would ignore what is asked. The launch document says what it prompts for."""
        offered = self._controller.get(f"job_templates/{number}/launch/")
        if "limit" in asked and not offered.get("ask_limit_on_launch"):
            raise LaunchError(
                f"the job template {number} ignores limit: switch on 'Prompt on launch' for Limit, or remove launcher.limit"
            )
        if "extra_vars" in asked and not offered.get("ask_variables_on_launch"):
            missing = sorted(set(asked["extra_vars"]) - self._survey(number, offered))
            if missing:
                raise LaunchError(
                    f"the job template {number} ignores extra_vars ({', '.join(missing)}): switch on 'Prompt on launch' for "
                    "Variables, or add them to its survey"
                )
        if needed := [str(each) for each in documents.items(offered, "passwords_needed_to_start")]:
            raise LaunchError(
                f"the job template {number} asks for passwords ({', '.join(needed)}), and nobody is there to give them: store "
                "them in its credential"
            )
        wanted = sorted(
            {str(each) for each in documents.items(offered, "variables_needed_to_start")}
            - set(asked.get("extra_vars", {}))
        )
        if wanted:
            raise LaunchError(
                f"the survey of the job template {number} requires {', '.join(wanted)}: make them optional"
            )

    def _survey(self, number: int, offered: dict[str, Any]) -> set[str]:
        """Return the variables that a template's survey lets through."""
        if not offered.get("survey_enabled"):
            return set()
        specification = self._controller.get(f"job_templates/{number}/survey_spec/")
        return {str(question.get("variable")) for question in documents.rows(specification, "spec")}

    def _require_heeded(self, job: int, number: int, ignored: dict[str, Any]) -> None:
        """Refuse a job that has lost what was asked, and cancel it: the template was changed since it was looked at."""
        if not ignored:
            return
        self._cancel(job)
        names = ", ".join(
            f"{k} ({', '.join(map(str, v))})" if isinstance(v, dict) and v else k for k, v in sorted(ignored.items())
        )
        ended = self._follow(job, threading.Event())
        if ended is None or self._began(job):
            return  # too late: what it did counts
        raise LaunchError(
            f"the job template {number} ignored {names}, and job {job} was cancelled: switch on 'Prompt on launch' for them"
        )

    def _find(self, number: int, mark: str) -> int | None:
        """Return the job that a lost answer was about: the one with the relocation's id among its variables."""
        try:
            recent = self._controller.get(f"job_templates/{number}/jobs/", order_by="-id", page_size=50)
        except (Unreachable, Denied):
            return None
        for job in documents.rows(recent, "results"):
            try:
                variables = json.loads(job.get("extra_vars") or "{}")
            except (ValueError, TypeError, RecursionError):
                continue
            if documents.part(variables).get("relocation_id") == mark:
                return documents.whole(job.get("id"))
        return None

    # ---- following

    def _follow(self, job: int, cancelled: threading.Event) -> dict[str, Any] | None:
        """Return the job's document when it has ended and its events are all stored; None when patience ended first."""
        until = time.monotonic() + self._settings.patience
        pause, asked = self._settings.poll, False
        while (left := until - time.monotonic()) > 0:
            try:
                state = self._controller.get(f"jobs/{job}/")
            except (Unreachable, Denied):  # an upgrade, a restart, a gateway: the job goes on meanwhile
                state = {}
            if str(state.get("status")) in ENDED and state.get("event_processing_finished", True):
                return state
            if cancelled.is_set() and not asked and str(state.get("status")) in NOT_STARTED:
                asked = self._cancel(job)
            # a cancellation ends the wait at once, but only the first time: afterwards it would make this a busy loop
            if asked or cancelled.is_set():
                time.sleep(min(pause, left))
            else:
                cancelled.wait(min(pause, left))
            pause = min(pause * SLOWER, self._settings.poll_longest)
        return None

    def _cancel(self, job: int) -> bool:
        """Ask for a job's end; False when that was refused, or not heard."""
        try:
            self._controller.post(f"jobs/{job}/cancel/")
        except (Unreachable, Denied):
            return False
        return True

    # ---- reading

    def _result(self, job: int, ended: dict[str, Any], action: str) -> dict[str, Any] | None:
        """Return the result of an action: from the job's artifacts, else from its events."""
        artifacts = ended.get("artifacts")
        if action == RELOCATE and isinstance(artifacts, dict) and isinstance(artifacts.get(ARTIFACT), dict):
            return dict(artifacts[ARTIFACT])
        for event in self._events(job, EVENTS):
            data = documents.data(event)
            if data.get("task_action") == action and isinstance(data.get("res"), dict):
                return dict(data["res"])
        return None

    def _began(self, job: int) -> bool:
        """Whether the relocation's own task began, or may have: unanswered counts as yes."""
        try:
            events = self._pages(f"jobs/{job}/job_events/", event="playbook_on_task_start")
        except (Unreachable, Denied):
            return True
        return any(documents.data(event).get("task_action") == RELOCATE for event in events)

    def _why(self, job: int, ended: dict[str, Any]) -> str:
        """Return why a job failed, in the words of its first failed task, else of AWX."""
        for event in self._events(job, "runner_on_failed,runner_on_unreachable"):
            if not documents.data(event).get("ignore_errors") and (said := documents.result(event).get("msg")):
                return f"job {job}: {shown(said)}"
        if ended["status"] == "successful":
            return (
                f"job {job} ended well without having relocated anything: is the template's playbook playbooks/awx.yml?"
            )
        said = ended.get("job_explanation") or ended.get("result_traceback")
        return f"job {job} ended as {ended['status']}: {shown(said or 'it gave no reason')}"

    def _events(self, job: int, kinds: str) -> list[dict[str, Any]]:
        try:
            return self._pages(f"jobs/{job}/job_events/", event__in=kinds)
        except (Unreachable, Denied):
            return []

    def _pages(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Return all results of a list that comes in pages."""
        results: list[dict[str, Any]] = []
        page = 1
        while True:
            answer = self._controller.get(path, order_by="counter", page_size=200, page=page, **query)
            results += documents.rows(answer, "results")
            if not answer.get("next"):
                return results
            page += 1
