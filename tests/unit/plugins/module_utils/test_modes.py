# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which modes a container and two hosts allow, and the sentence that says why not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _host, _modes

ABLE: dict[str, Any] = {
    "userfaultfd": True,
    "dirty_tracking": True,
}


def refusals(
    mode: str,
    labels: dict[str, str] | None = None,
    memory_bytes: int = 8 << 20,
    mapped_bytes: int = 0,
    **places: dict[str, Any],
) -> list[str]:
    """Ask about a move from host1 to host2, each able to do everything but what is given for it."""
    container = {"name": "web", "labels": labels or {}, "memory_bytes": memory_bytes, "mapped_bytes": mapped_bytes}
    source, destination = ({**ABLE, **places.get(part, {})} for part in ("source", "destination"))
    return _modes.mode_refusals(mode, container, "host1", source, "host2", destination)


@pytest.mark.parametrize("mode", ["stop-and-copy", "post-copy", "pre-copy"])
def test_able_hosts_and_an_ordinary_container_allow_what_is_built(mode: str) -> None:
    assert refusals(mode, {"relocate.mtd/tenant": "red", "relocate.mtd/post-copy": "yes"}) == []


def test_a_label_forbids_post_copy_and_nothing_else() -> None:
    never = {"relocate.mtd/post-copy": "never"}
    assert refusals("post-copy", never) == [
        "the container web is labelled relocate.mtd/post-copy=never, so that its memory is never on two hosts at once: "
        "use another mode"
    ]
    assert refusals("stop-and-copy", never) == []


def test_a_destination_needs_userfaultfd() -> None:
    """A source does not: what is left behind is read where it lies."""
    (found,) = refusals("post-copy", destination={"userfaultfd": False})
    assert found.startswith("the kernel of host2 cannot fetch memory on demand")
    assert refusals("post-copy", source={"userfaultfd": False}) == []
    assert refusals("stop-and-copy", destination={"userfaultfd": False}) == []


def test_pre_copy_needs_a_source_that_tells_which_memory_was_written() -> None:
    (found,) = refusals("pre-copy", source={"dirty_tracking": False})
    assert found.startswith("the kernel of host1 does not tell which memory was written")
    assert "CONFIG_MEM_SOFT_DIRTY" in found
    assert refusals("pre-copy", destination={"dirty_tracking": False}) == []
    assert refusals("stop-and-copy", source={"dirty_tracking": False}) == []


def test_a_host_that_promises_no_more_than_it_has_must_promise_all_that_is_reserved() -> None:
    """In a stop-and-copy it need not: what was never writable is mapped as it was."""
    strict = {"promised_bytes_left": 1 << 30}
    for mode in ("post-copy", "pre-copy"):
        assert refusals(mode, destination=strict, mapped_bytes=1 << 20) == []
        (found,) = refusals(mode, destination=strict, mapped_bytes=1 << 40)
        assert found.startswith("host2 promises no more memory than it has") and found.endswith(
            "or use mode stop-and-copy"
        )
        assert refusals(mode, destination={"promised_bytes_left": None}, mapped_bytes=1 << 40) == []
    assert refusals("stop-and-copy", destination=strict, mapped_bytes=1 << 40) == []


@pytest.mark.parametrize("available,refused", [(420 << 20, False), ((420 << 20) - 1, True), (None, False)])
def test_pre_copy_needs_room_for_its_rounds_at_the_destination(available: int | None, refused: bool) -> None:
    found = refusals("pre-copy", destination={"memory_available_bytes": available}, memory_bytes=100 << 20)
    assert bool(found) == refused
    if found:
        assert (
            found[0].startswith("host2 has 419 MiB of memory available, and pre-copy") and "needs 420 MiB" in found[0]
        )
    assert refusals("pre-copy", source={"memory_available_bytes": 1}, memory_bytes=100 << 20) == []
    assert refusals("stop-and-copy", destination={"memory_available_bytes": available}, memory_bytes=100 << 20) == []


@pytest.mark.parametrize("part", ["source", "destination"])
def test_an_image_has_to_fit_where_it_is_written_on_either_host(part: str) -> None:
    """Found out in the freeze, it would cost the clients a pause. A post-copy carries little, and a move without limits all."""
    host = {"source": "host1", "destination": "host2"}[part]
    for mode in ("stop-and-copy", "pre-copy"):
        full: dict[str, Any] = {part: {"room": {"images": {"bytes": 100 << 20, "inodes": None}}}}
        assert refusals(mode, memory_bytes=99 << 20, **full) == []
        (found,) = refusals(mode, memory_bytes=100 << 20, **full)
        assert found == (
            f"{host} has 100 MiB free for memory images (/run/relocate/sessions), and 101 MiB are needed: free some"
        )
    assert refusals("post-copy", memory_bytes=100 << 20, **full) == []


def test_a_host_tells_what_the_modes_depend_on() -> None:
    asked: list[tuple[str, ...]] = []

    def run(*argv: str) -> str:
        asked.append(argv)
        return "uffd-noncoop is supported\n" if argv[-1] == "uffd-noncoop" else ""

    found = _host.modes(run, "/usr/sbin/criu")
    assert found["userfaultfd"] is True and found["dirty_tracking"] is False
    assert asked == [("/usr/sbin/criu", "check", "--feature", each) for each in ("uffd-noncoop", "mem_dirty_track")]
    assert _host.modes(run, None)["userfaultfd"] is False
