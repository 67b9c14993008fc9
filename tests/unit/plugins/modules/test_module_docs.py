# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules' documentation: what people read is what the modules take, and the installed proxy has what it imports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.paths import COLLECTION, ROOT


def test_the_page_of_all_options_is_up_to_date() -> None:
    """docs/modules.md is what docs/make_modules.py would write."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_modules.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_proxy_is_packed_with_the_modules_it_imports(tmp_path: Path) -> None:
    """Every module_utils file that the proxy imports, and that those import, is in the archive for targets."""
    script = ROOT / "roles" / "proxy_program" / "files" / "pack.py"
    archive = tmp_path / "relocate_proxy.tar"
    for said in ("changed\n", ""):  # written once, then found to be the same
        done = subprocess.run(
            [sys.executable, str(script), str(COLLECTION), str(archive)], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, said), done.stderr
    listed = subprocess.run(["tar", "-tf", str(archive)], capture_output=True, text=True, check=True).stdout.split()
    utilities = COLLECTION / "plugins" / "module_utils"
    packed = {Path(name).name for name in listed if "/plugins/module_utils/" in name}
    sources = [*(COLLECTION / "proxy").rglob("*.py"), *(utilities / name for name in packed)]
    sources += [COLLECTION / "plugins/modules" / Path(name).name for name in listed if "/plugins/modules/" in name]
    wanted = set()
    for source in sources:
        text = source.read_text(encoding="utf-8")
        wanted |= set(re.findall(r"module_utils\.(_\w+)", text))
        for names in re.findall(r"module_utils import (\([^)]*\)|.+)", text):
            wanted |= set(re.findall(r"\b_\w+", names))
    assert wanted and {f"{name}.py" for name in wanted} == packed
    assert "relocate/relocate_proxy/__main__.py" in listed


def test_the_archive_does_not_depend_on_the_clone(tmp_path: Path) -> None:
    """A new clone has new file times; hosts must not be said to change for that."""
    script = ROOT / "roles" / "proxy_program" / "files" / "pack.py"
    archives = []
    for number, when in enumerate((1_000_000_000, 1_500_000_000)):
        clone = tmp_path / f"clone{number}"
        for part in ("proxy", "plugins/module_utils", "plugins/modules"):
            shutil.copytree(COLLECTION / part, clone / part)
        for path in clone.rglob("*.py"):
            os.utime(path, (when, when))
        archives.append(tmp_path / f"{number}.tar")
        subprocess.run([sys.executable, str(script), str(clone), str(archives[-1])], check=True, capture_output=True)
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_a_new_import_of_the_proxy_is_packed_without_being_listed(tmp_path: Path) -> None:
    """Also one inside a function, one of a package, and what that imports in turn."""
    for part in ("proxy", "plugins/module_utils", "plugins/modules"):
        shutil.copytree(COLLECTION / part, tmp_path / part)
    home = "ansible_collections.relocate.mtd.plugins.module_utils"
    utilities, room = tmp_path / "plugins" / "module_utils", tmp_path / "plugins" / "module_utils" / "_room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "door.py").write_text(f"import {home}._lone\n")
    (utilities / "_lone.py").touch()
    (tmp_path / "proxy" / "relocate_proxy" / "new.py").write_text(
        f"def open_it():\n    from {home}._room import door\n\n    return door\n"
    )
    script, archive = ROOT / "roles" / "proxy_program" / "files" / "pack.py", tmp_path / "a.tar"
    subprocess.run([sys.executable, str(script), str(tmp_path), str(archive)], check=True, capture_output=True)
    listed = subprocess.run(["tar", "-tf", str(archive)], capture_output=True, text=True, check=True).stdout.split()
    packed = {name.rpartition("module_utils/")[2] for name in listed if "/module_utils/" in name}
    assert {"_room/__init__.py", "_room/door.py", "_lone.py", "_criu.py"} <= packed and "_announce.py" not in packed
