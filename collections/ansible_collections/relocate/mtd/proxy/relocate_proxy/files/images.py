# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a destination does with an image that another host sends: it is loaded under a name of ours, and keeps that alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ansible_collections.relocate.mtd.plugins.module_utils import _images
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient
from ansible_collections.relocate.mtd.plugins.module_utils._preflight import DISK_RESERVE

from ..protocol.channel import Outlet
from .saved_image import Receiver


def receive(docker: DockerClient, channel: Outlet, identifier: str, layers: list[str]) -> None:
    """Take an image, and keep it as ``relocate/received:…``, also if the move comes to nothing: the next one needs it again.

    :raises ValueError: the source sends something else. :raises DockerError: Docker does not load it.
    """
    disk = os.statvfs(docker.info()["DockerRootDir"])
    room = (disk.f_bavail * disk.f_frsize - DISK_RESERVE) // _images.COPIES
    docker.load_image(Receiver(channel, identifier, layers, room).archive())
    docker.tag(identifier, _images.received_name(identifier))


@contextlib.contextmanager
def named(docker: DockerClient, reference: str, identifier: str) -> Iterator[None]:
    """Have an image called as the container names it, while the container is made; Docker makes it by no other name.

    The name is taken back. A source that is somebody else's must not leave an image of its own under a name that somebody may
    run on this host one day. Nothing is done where the name is here: then it is the image's own.
    """
    missing = docker.image(reference) is None
    if missing:
        docker.tag(identifier, reference)
    try:
        yield
    finally:
        if missing:
            docker.tag(identifier, _images.received_name(identifier))  # the last name would take the image with it
            if (docker.image(reference) or {}).get(
                "Id"
            ) == identifier:  # else somebody has pulled one of that name meanwhile
                docker.untag(reference)
