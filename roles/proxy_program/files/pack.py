#!/usr/bin/env python3
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the proxy program for its targets: ``pack.py COLLECTION ARCHIVE``.

The archive holds ``relocate/relocate_proxy``, and beside it the collection's modules that the proxy imports, under
their own names (``ansible_collections.relocate…``); the imports themselves say which. What a module and the proxy
both know (CRIU's arguments, the edge's table, Docker's API) is written down once. One archive is one task and one
transfer a host; file by file it would be one a file.

Modules that a login without root may ask for (relocate_proxy/request.py) come along with what they import of Ansible: they are
what Ansible would send at each call, but root's own there, so that nobody can send others.

The archive is written only if it would differ; prints ``changed`` then, and nothing otherwise.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

COLLECTION = "ansible_collections.relocate.mtd.plugins"
SHARED_HOME = f"{COLLECTION}.module_utils"
#: What relocate_proxy/request.py can run.
MODULES = (
    "nat_service",
    "nat_service_info",
    "relocation_info",
    "relocation_preflight",
    "relocation_session",
    "service_fence",
    "tenant_container",
    "tenant_container_info",
)
#: Ansible loads these by a name that it puts together.
BY_NAME = tuple(f"ansible.module_utils._internal._json._profiles._module_legacy_{way}" for way in ("c2m", "m2c"))


def imports(path: Path, package: str = "") -> set[str]:
    """Return the dotted names that a file imports, wherever in it; C(from a import b) is both a and a.b.

    :param package: the one that the file is in, for imports relative to it; without it they are left out.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = package.rsplit(".", node.level - 1)[0] if node.level and package else ""
            base = ".".join(filter(None, (home, node.module)))
            if base and (home or not node.level or node.module):
                names.update((base, *(f"{base}.{alias.name}" for alias in node.names)))
    return names


def shared(program: Iterable[Path], utilities: Path) -> dict[str, Path]:
    """Return the files of C(module_utils) that the program needs, by their path below it: what it imports, and what they do.

    Where a package is imported, its C(__init__) comes along. C(module_utils) itself is a namespace on targets.
    """
    found: dict[str, Path] = {}
    unread = list(program)
    while unread:
        for name in imports(unread.pop()):
            if not name.startswith(f"{SHARED_HOME}."):
                continue
            parts = name.removeprefix(f"{SHARED_HOME}.").split(".")
            places = [
                "/".join(parts) + ".py",
                *("/".join((*parts[:n], "__init__.py")) for n in range(1, len(parts) + 1)),
            ]
            for place in places:
                if place not in found and (utilities / place).is_file():
                    found[place] = utilities / place
                    unread.append(found[place])
    return found


def of_ansible(users: Iterable[Path]) -> dict[str, Path]:
    """Return the files of C(ansible.module_utils) that some modules need, by their place in the archive."""
    import ansible  # the controller's: what it would send

    home = Path(ansible.__file__).parent.parent
    found = {
        "ansible/__init__.py": home / "ansible/module_utils/__init__.py"
    }  # an empty one: the real one is the controller's
    names = set(BY_NAME).union(*(imports(user) for user in users))
    while names:
        parts = names.pop().split(".")
        if parts[:2] != ["ansible", "module_utils"]:
            continue
        for count in range(2, len(parts) + 1):
            path = "/".join(parts[:count])
            for place in (f"{path}.py", f"{path}/__init__.py"):
                if place in found or not (home / place).is_file():
                    continue
                found[place] = home / place
                package = parts[:count] if place.endswith("__init__.py") else parts[: count - 1]
                names |= imports(home / place, ".".join(package))
    return found


def members(collection: Path) -> dict[str, Path]:
    """Return the file behind every name in the archive."""
    program = collection / "proxy" / "relocate_proxy"
    found = {f"relocate_proxy/{path.relative_to(program)}": path for path in program.rglob("*.py")}
    for name in MODULES:
        path = collection / "plugins" / "modules" / f"{name}.py"
        found[f"{COLLECTION.replace('.', '/')}/modules/{name}.py"] = path
    utilities = shared(found.values(), collection / "plugins" / "module_utils")
    found |= of_ansible([*found.values(), *utilities.values()])
    home = SHARED_HOME.replace(".", "/")
    found.update((f"{home}/{place}", path) for place, path in utilities.items())
    return found


def content_time(content: bytes) -> int:
    """Return a file time, in seconds from 1970 to 2037, that only the content decides.

    The same files give the same archive in every clone, and yet Python, which trusts a compiled file whose source
    has the same time and size, notices that a source has changed.
    """
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "big") >> 1


def archive(collection: Path) -> bytes:
    """Return the archive, the same bytes for the same contents."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, path in sorted(members(collection).items()):
            content = path.read_bytes()
            member = tarfile.TarInfo(f"relocate/{name}")
            member.size = len(content)
            member.mtime = content_time(content)
            member.mode = 0o644
            member.uname = member.gname = "root"
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def main() -> None:
    """Entry point."""
    collection, target = Path(sys.argv[1]), Path(sys.argv[2])
    content = archive(collection)
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    part.write_bytes(content)
    part.rename(target)
    print("changed")


if __name__ == "__main__":
    main()
