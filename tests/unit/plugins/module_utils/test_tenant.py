# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tenant container is to be, and how one that exists differs from it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _tenant
from ansible_collections.relocate.mtd.plugins.module_utils._docker import Publication
from ansible_collections.relocate.mtd.plugins.module_utils._sockets import listening

COUNTER = _tenant.WantedTenant(
    name="counter",
    image="r:5000/counter:1",
    command=("7000", "8"),
    environment=(("MODE", "fast"),),
    labels=(("relocate.mtd/enabled", "true"),),
    published=(Publication("0.0.0.0", 7001, 7000, "tcp"),),
    restart_policy="no",
)


def _as_made(tenant: _tenant.WantedTenant) -> dict[str, Any]:
    """Return what docker inspect says of a container made from a tenant's specification."""
    body = _tenant.specification(tenant)
    config = {"Image": body["Image"], "Cmd": body.get("Cmd", ["/image", "default"]), "Labels": body["Labels"]}
    config["Env"] = [*body["Env"], "PATH=/usr/bin"]
    return {"Config": config, "HostConfig": body["HostConfig"]}


def test_a_container_is_what_it_was_made_from() -> None:
    """No difference is found, the image's own variables and command notwithstanding."""
    assert _tenant.differences(COUNTER, _as_made(COUNTER)) == []
    assert _tenant.differences(COUNTER._replace(command=()), _as_made(COUNTER._replace(command=()))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "r:5000/idle:1"}, "image is r:5000/idle:1 instead of r:5000/counter:1"),
        ({"command": ("7000", "9")}, "command is '7000 9' instead of '7000 8'"),
        ({"environment": (("MODE", "slow"),)}, "variable MODE is not 'fast'"),
        ({"labels": ()}, "label relocate.mtd/enabled is not 'true'"),
        ({"published": ()}, "published ports are none instead of 7001->7000/tcp"),
        ({"restart_policy": "always"}, "restart policy is always instead of no"),
    ],
)
def test_each_difference_is_named(change: dict[str, Any], said: str) -> None:
    """What another container of that name is, and what was wanted."""
    assert _tenant.differences(COUNTER, _as_made(COUNTER._replace(**change))) == [said]


def test_one_port_may_be_published_twice() -> None:
    """Both places are in the specification."""
    twice = COUNTER._replace(
        published=(Publication("0.0.0.0", 80, 7000, "tcp"), Publication("0.0.0.0", 81, 7000, "tcp"))
    )
    assert [place["HostPort"] for place in _tenant.specification(twice)["HostConfig"]["PortBindings"]["7000/tcp"]] == [
        "80",
        "81",
    ]


def test_commands_as_people_write_them() -> None:
    """A string is split as a shell would; a list is taken as it is; numbers are words."""
    assert _tenant.words("sh -c 'echo a b'") == ("sh", "-c", "echo a b")
    assert _tenant.words(["/counter", 7000]) == ("/counter", "7000")
    assert _tenant.words(None) == ()
    with pytest.raises(ValueError, match="No closing quotation"):
        _tenant.words("sh -c 'x")


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1B58 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0B004D0A:0016 01004D0A:8420 01 00000000:00000000 02:000AD9D6 00000000     0        0 2
"""
UDP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 3
"""


def test_only_what_waits_takes_a_port() -> None:
    """An established connection's port is not taken for good."""
    assert listening(TCP, "tcp") == {7000}
    assert listening(UDP, "udp") == {53}
    assert listening("", "tcp") == set()
