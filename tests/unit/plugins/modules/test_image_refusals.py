# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a destination would come to a container's image, and when it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerError
from ansible_collections.relocate.mtd.plugins.modules.relocation_preflight import image_refusals

CONTAINER: dict[str, Any] = {
    "name": "web",
    "image": "web:1",
    "image_id": "sha256:1",
    "image_bytes": 7,
    "image_layers": ["a"],
    "image_digests": ["sha256:d"],
}


class Docker:
    """An engine with an image, and a repository behind it."""

    def __init__(self, name: str, layers: list[str], offered: str) -> None:
        self.images = {name: {"RootFS": {"Layers": layers}}}
        self.offered = offered

    def image(self, name: str) -> dict[str, Any] | None:
        """Return it, or nothing."""
        return self.images.get(name)

    def registered(self, _: str) -> str:
        """Say what is offered."""
        if not self.offered:
            raise DockerError(404, "not found")
        return self.offered


@pytest.mark.parametrize(
    ("name", "layers", "offered", "more", "present", "sent", "said"),
    [
        ("web:1", ["a"], "", {}, True, False, ""),
        ("sha256:1", ["a"], "", {}, True, False, ""),
        ("web:1", ["b"], "", {}, True, False, "is not the one that web was made from"),
        ("", [], "sha256:d", {}, False, False, ""),
        ("", [], "sha256:e", {}, False, True, ""),
        ("", [], "", {}, False, True, ""),
        ("", [], "sha256:d", {"image_digests": []}, False, True, ""),
        # nobody can send it: its host has died, or its name is one that only a repository gives
        ("", [], "sha256:e", {"image_bytes": 0}, False, False, "the repository has another one of that name"),
        ("", [], "", {"image_bytes": 0}, False, False, "no repository offers it (not found): push it"),
        ("", [], "sha256:e", {"image_bytes": 0, "image_digests": []}, False, False, ""),
        ("", [], "", {"image": "web@sha256:d"}, False, False, "host2 does not have the image web@sha256:d, and no"),
    ],
)
def test_where_the_image_comes_from(
    name: str, layers: list[str], offered: str, more: dict[str, Any], present: bool, sent: bool, said: str
) -> None:
    """From the host itself, from its repository, from the source, or from nowhere."""
    engine: Any = Docker(name, layers, offered)
    answer = image_refusals(engine, "host2", {**CONTAINER, **more})
    assert answer[:2] == (present, sent)
    assert len(answer[2]) == bool(said)
    assert not said or said in answer[2][0]
