# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of options and the containers of the lab's test are of one mind, and the comparison can fail."""

from __future__ import annotations

import copy
from typing import Any

import run_options
from run_options import KEPT, NO_EFFECT, NOT_TRIED, REFUSED, with_verdict

INSPECTED: dict[str, Any] = {
    "Id": "a1",
    "State": {"Pid": 7, "RestartCount": 0},
    "HostConfig": {"Runtime": "runc", "PortBindings": {"80/tcp": [{"HostPort": ""}]}, "Init": None},
    "Mounts": [{"Destination": "/a.b", "Source": "/1", "RW": True}, {"Destination": "/c", "Source": "", "RW": False}],
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "::"}, {"HostIp": "0.0.0.0"}], "81/tcp": None},
        "Networks": {"shop": {"IPAddress": "192.0.2.1", "Aliases": ["web"]}},
    },
}


def test_every_option_has_one_of_the_verdicts() -> None:
    """And the names are options."""
    known = (KEPT, REFUSED, NO_EFFECT, KEPT + NOT_TRIED, REFUSED + NOT_TRIED)
    assert {verdict for verdict in run_options.decisions().values() if verdict not in known} == set()
    assert len(run_options.decisions()) > 90
    assert all(option.startswith("--") for option in run_options.decisions())


def test_every_option_that_is_kept_is_set_somewhere() -> None:
    """``--name`` is everybody's."""
    tried = run_options.options_of(run_options.WHOLE + run_options.SECOND) | {"--name"}
    assert tried - with_verdict(NO_EFFECT) == with_verdict(KEPT)


def test_every_option_that_is_refused_is_tried() -> None:
    """Beside other options whose values are."""
    tried = run_options.options_of("\n".join([*run_options.REFUSALS, *run_options.REFUSALS_28]))
    assert tried >= with_verdict(REFUSED)


def test_the_comparison_sees_what_is_not_allowed() -> None:
    """What is, is a copy's own."""
    copied = copy.deepcopy(INSPECTED)
    copied |= {"Id": "b2", "Mounts": copied["Mounts"][::-1], "New": []}
    copied["State"]["Pid"] = 8
    copied["HostConfig"] |= {"Runtime": "relocate", "PortBindings": {"80/tcp": [{"HostPort": "32768"}]}}
    copied["Mounts"][1]["Source"] = "/2"
    copied["NetworkSettings"]["Networks"]["shop"]["IPAddress"] = "192.0.2.2"
    assert run_options.differences(INSPECTED, copied) == []
    copied["NetworkSettings"]["Ports"]["80/tcp"].reverse()
    assert run_options.differences(INSPECTED, copied) == []
    place = "NetworkSettings.Networks.shop.IPAddress"
    assert run_options.differences(INSPECTED, copied, kept=[place]) == [f"{place}: '192.0.2.1' -> '192.0.2.2'"]
    copied["HostConfig"]["Init"] = True
    copied["Mounts"][0]["RW"] = True
    copied["NetworkSettings"]["Networks"]["shop"]["Aliases"] = []
    assert [line.partition(":")[0] for line in run_options.differences(INSPECTED, copied)] == [
        "HostConfig.Init",
        "Mounts./c.RW",
        "NetworkSettings.Networks.shop.Aliases",
    ]
