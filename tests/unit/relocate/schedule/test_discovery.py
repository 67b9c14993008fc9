# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a survey makes of the hosts' answers: who has a clock, and whose clock moves whom."""

from __future__ import annotations

from typing import Any

from relocate.schedule.discovery import leaders


def container(name: str, project: str = "shop", state: str = "running", **networks: str) -> dict[str, Any]:
    labels = {"com.docker.compose.project": project} if project else {}
    return {
        "name": name,
        "state": state,
        "labels": labels,
        "networks": networks or {"shop_default": f"172.18.0.{len(name)}"},
    }


def test_one_of_a_project_leads_all_that_would_lose_each_other() -> None:
    web, db, worker = (container(name) for name in ("web", "db", "worker"))
    assert leaders([web, worker], [web, db, worker]) == {"web": "web", "worker": "web"}, (
        "db has no clock and comes along"
    )
    assert leaders([web], [web, db]) == {"web": "web"}


def test_who_loses_nobody_has_its_own_clock() -> None:
    web = container("web")
    apart = {**container("db"), "labels": {**container("db")["labels"], "relocate.mtd/project": "apart"}}
    for other in (
        container("db", state="exited"),
        container("db", project="blog"),
        container("db", project=""),
        container("db", bridge="172.17.0.2"),
        container("db", shop_other="172.19.0.2"),
    ):
        assert leaders([web], [web, other]) == {}
    assert leaders([apart], [web, apart]) == {}
