# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bind mounts: both hosts see that they show the same, and nothing is left of the looking."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _binds
from ansible_collections.relocate.mtd.plugins.module_utils._binds import Bind, Policy
from relocate_proxy.files import binds

RELOCATION = "20260101-000000-abcdef"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a host's directory; what is in ``root`` the container sees (the same inodes, as by a bind mount)."""
    for name in ("shared", "root/etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "zone").write_text("UTC")
    os.link(tmp_path / "zone", tmp_path / "root/etc/localtime")
    policy = Policy((f"{tmp_path}/zone",), (f"{tmp_path}/shared", f"{tmp_path}/root/srv"))
    monkeypatch.setattr(_binds, "policy", lambda: policy)
    return tmp_path


def offered(host: Path, read_only: bool = False) -> binds.Offered:
    """Return what the source says; a directory cannot have two names, so the shared one is the container's own."""
    (host / "root/srv").mkdir(exist_ok=True)
    shown = [Bind(f"{host}/zone", "/etc/localtime", True), Bind(f"{host}/root/srv", "/srv", read_only)]
    return binds.Offered(shown, f"{host}/root", RELOCATION)


def test_a_probe_shows_that_a_directory_is_shared(host: Path) -> None:
    made = offered(host)
    assert made.probes == [f"{host}/root/srv/.relocate-{RELOCATION}-0"]
    made.place_probes()
    found = binds.find(made.document, "host2")
    assert set(found) == {"/etc/localtime", "/srv"}
    binds.insist(found, f"{host}/root")
    for _ in range(2):
        binds.remove_probes(made.probes)
        assert list((host / "root/srv").iterdir()) == []
    assert made.send_first() == 0 and made.written
    made.close()
    assert not offered(host, read_only=True).written


def test_another_file_system_has_no_probe(host: Path) -> None:
    made = offered(host)
    with pytest.raises(binds.BindProblem, match="is not the file system that the source has there"):
        binds.find(made.document, "host2")
    Path(made.probes[0]).write_text("another's")
    with pytest.raises(binds.BindProblem, match="is not the file system"):
        binds.find(made.document, "host2")
    Path(made.probes[0]).unlink()
    Path(made.probes[0]).symlink_to("/etc/passwd")
    with pytest.raises(binds.BindProblem, match="is not the file system"):
        binds.find(made.document, "host2")
    Path(made.probes[0]).unlink()
    os.mkfifo(made.probes[0])
    with pytest.raises(binds.BindProblem, match="is not the file system"):
        binds.find(made.document, "host2")


def test_a_directory_without_room_for_a_probe_is_named(host: Path) -> None:
    made = offered(host)
    made.place_probes()
    with pytest.raises(binds.BindProblem, match=r"no file can be made in .*/srv to see"):
        made.place_probes()


def test_what_the_host_has_replaced_is_not_what_the_container_sees(host: Path) -> None:
    """An editor writes a new file under the old name; the container keeps the old one."""
    made = offered(host)
    made.place_probes()
    (host / "zone").unlink()
    (host / "zone").write_text("CET")
    with pytest.raises(binds.BindProblem, match="zone on host2 is not what the container was shown"):
        binds.find(offered(host).document, "host2")
    (host / "shared/new").mkdir()
    shown = [Bind(f"{host}/shared/new", "/srv", False)]
    with pytest.raises(binds.BindProblem, match="is not the directory any more"):
        binds.Offered(shown, f"{host}/root", RELOCATION)


def test_a_link_in_the_place_of_what_was_looked_at(host: Path) -> None:
    """Somebody who shares the directory waits for the moment between the look and the mount."""
    made = offered(host)
    made.place_probes()
    found = binds.find(made.document, "host2")
    (host / "root/srv").rename(host / "root/old")
    (host / "root/srv").symlink_to("/etc")
    with pytest.raises(OSError, match="symbolic link"):
        binds.insist(found, f"{host}/root")
    (host / "root/srv").unlink()
    (host / "root/srv").mkdir()
    with pytest.raises(binds.BindProblem, match="is not what was looked at before"):
        binds.insist(found, f"{host}/root")


def test_what_no_rule_names_is_not_offered(host: Path) -> None:
    with pytest.raises(binds.BindProblem, match="does not name /etc/shadow"):
        binds.Offered([Bind("/etc/shadow", "/srv", True)], f"{host}/root", RELOCATION)


def test_probes_are_removed_behind_no_link(host: Path) -> None:
    (host / "aim").mkdir()
    (host / "aim/probe").touch()
    (host / "link").symlink_to(host / "aim")
    binds.remove_probes([f"{host}/link/probe", f"{host}/nowhere/probe", "/probe"])
    assert (host / "aim/probe").exists()


def test_the_destination_asks_its_own_policy(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = offered(host)
    made.place_probes()
    monkeypatch.setattr(_binds, "policy", Policy)
    with pytest.raises(binds.BindProblem, match="host2 does not show"):
        binds.find(made.document, "host2")
