# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository is told that asks for a password."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _login

AUTH = base64.b64encode(b"reader:se:cret").decode()
STORED = {
    "auths": {
        "10.77.0.10:5001": {"auth": AUTH},
        "registry.test": {"identitytoken": "token"},
        "https://index.docker.io/v1/": {"auth": AUTH},
        "empty.test": {},
        "odd.test": {"auth": 7},
        "broken.test": {"auth": "%%%"},
        "list.test": [],
    }
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home with what docker login has written there."""
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_dir=str(tmp_path)))
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(STORED))
    return tmp_path


def told(image: str) -> dict[str, Any] | None:
    """Return what the header for an image holds."""
    headers = _login.headers(image)
    return json.loads(base64.urlsafe_b64decode(headers["X-Registry-Auth"])) if headers else None


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("10.77.0.10:5001/web:1", {"username": "reader", "password": "se:cret", "serveraddress": "10.77.0.10:5001"}),
        ("registry.test/shop/web@sha256:0", {"identitytoken": "token", "serveraddress": "registry.test"}),
        ("shop/web", {"username": "reader", "password": "se:cret", "serveraddress": "https://index.docker.io/v1/"}),
        ("10.77.0.10:5000/web:1", None),
        ("empty.test/web", None),
        ("odd.test/web", None),
        ("broken.test/web", None),
        ("list.test/web", None),
    ],
)
def test_what_a_repository_is_told(home: Path, image: str, words: dict[str, str] | None) -> None:
    """Its own password, and no other's."""
    assert told(image) == words


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"auths": []}', "[" * 5000])
def test_a_file_that_is_none(home: Path, text: str | None) -> None:
    """The repository is asked without a password, and says what it thinks of that."""
    file = home / ".docker" / "config.json"
    file.unlink()
    if text is not None:
        file.write_text(text)
    assert told("10.77.0.10:5001/web:1") is None
