# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host comes to a container's image: it has it, its repository offers it, or the source sends it.

Asked before a move, for the plan, and again by the destination when it makes the copy. Standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

#: What Docker calls an image by its contents: the digest of its configuration.
IDENTIFIER = re.compile(r"sha256:[0-9a-f]{64}")
#: Under this name, and the first digits of its id, an image is kept that another host has sent.
RECEIVED = "relocate/received"
DIGITS = 12
#: Docker unpacks an archive, and then the layers in it.
COPIES = 2
#: Milliseconds that Docker takes for each MiB of an image to save, to load and to unpack it; the network comes on top.
HANDLING_MS_PER_MIB = 12.0


class Another(Exception):
    """The host has another image under this name."""


def found(engine: DockerClient, reference: str, identifier: str, layers: List[str]) -> Optional[Dict[str, Any]]:
    """Return the image if the host has it, under its name or under none.

    :param identifier: the source's id of it; "" if it is not known. :raises Another: the name is another image's here.
    """
    image = engine.image(reference)
    if image is None and identifier:
        image = engine.image(identifier)
    if image is not None and layers_of(image) != layers:
        raise Another(reference)
    return image


def layers_of(image: Dict[str, Any]) -> List[str]:
    """Return the digests of an image's layers, the lowest first."""
    return (image.get("RootFS") or {}).get("Layers") or []


def problem_of_offer(engine: DockerClient, reference: str, digests: Optional[List[str]]) -> str:
    """Return why a host cannot pull an image, in a clause; "" if its repository offers the very one.

    :param digests: under which the source has it from repositories. Where it has none, nobody knows whether what a repository
        offers under that name is the same: an image that was built on a host may have a stranger's name. None: take that, the
        layers will tell.
    """
    if digests is not None and not digests:
        return "it comes from no repository"
    try:
        digest = engine.registered(reference)
    except DockerError as error:
        return f"no repository offers it ({error})"
    return "" if digests is None or digest in digests else "the repository has another one of that name"


def sendable(reference: str) -> bool:
    """Return whether a host can have an image under this name that comes from elsewhere than a repository."""
    return "@" not in reference


def received_name(identifier: str) -> str:
    """Return the name under which an image that was sent is kept."""
    return f"{RECEIVED}:{identifier.partition(':')[2][:DIGITS]}"
