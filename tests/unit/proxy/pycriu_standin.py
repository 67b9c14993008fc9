# Copyright: (c) 2026, The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A STAND-IN for ``pycriu``, which comes with CRIU and not from PyPI: images are JSON here, and protobuf there.

It has the two functions that the proxy uses, with their real signatures and the real shape of what they return. The real one is
exercised by the tests in ``tests/lab``, on hosts that have CRIU.
"""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any, BinaryIO


def load(file: BinaryIO) -> dict[str, Any]:
    """Return ``{"magic": …, "entries": […]}``."""
    document: dict[str, Any] = json.load(file)
    return document


def dump(image: dict[str, Any], file: BinaryIO) -> None:
    """Write what :func:`load` returned."""
    file.write(json.dumps(image).encode())


def module() -> ModuleType:
    """Return a module named ``pycriu`` with a submodule ``images``."""
    pycriu, images = ModuleType("pycriu"), ModuleType("pycriu.images")
    vars(images).update(load=load, dump=dump)
    vars(pycriu)["images"] = images
    return pycriu
