# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python3 -m relocate_proxy PART < specification.json``: start one part of one relocation and return when it is ready.

The specification comes on standard input, for it holds the part's key, which no command line may show. Prints one JSON
document: ``{"pid": ..., "port": ...}``, or ``{"error": "one sentence"}`` with exit status 1.

``python3 -m relocate_proxy recover < order.json`` settles one part instead: see ``parts.recovery``. ``remove`` removes a
container that has come back with its host: see ``parts.returned``.
"""

from __future__ import annotations

import json
import sys

from . import guardian
from .parts.recovery import recover
from .parts.returned import remove

ORDERS = ("recover", "remove")


def _carry_out(task: str, order: dict) -> dict:
    try:
        return recover(order) if task == "recover" else remove(order)
    except Exception as error:
        return {"error": str(error) or type(error).__name__}


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 2 or sys.argv[1] not in (*guardian.PARTS, *ORDERS):
        tasks = ",".join((*guardian.PARTS, *ORDERS))
        print(f"usage: python3 -m relocate_proxy {{{tasks}}} < specification.json", file=sys.stderr)
        sys.exit(2)
    task, specification = sys.argv[1], json.load(sys.stdin)
    answer = _carry_out(task, specification) if task in ORDERS else guardian.begin(task, specification)
    print(json.dumps(answer))
    sys.exit(1 if "error" in answer else 0)


if __name__ == "__main__":
    main()
