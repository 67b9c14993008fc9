# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed files: what is written comes back, for the controller's library too, and nothing that was changed is given out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots import sealing as controller
from relocate_proxy.host import sealing
from relocate_proxy.host.sealing import Broken, Opener, Sealer

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few bytes be several pieces."""
    monkeypatch.setattr(sealing, "PIECE", 64)
    monkeypatch.setattr(controller, "PIECE", 64)


def seal(path: Path, data: bytes, key: bytes = KEY) -> Path:
    sealer = Sealer(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), key)
    for begin in range(0, len(data), 50):
        sealer.write(data[begin : begin + 50])
    sealer.finish()
    sealer.close()
    return path


def opened(path: Path, count: int, key: bytes = KEY) -> bytes:
    opener = Opener(os.open(path, os.O_RDONLY), key)
    try:
        data = opener.read(count)
        opener.finish()
        return data
    finally:
        opener.close()


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128, 1000])
def test_what_is_sealed_comes_back_whole(tmp_path: Path, count: int) -> None:
    data = os.urandom(count)
    path = seal(tmp_path / "sealed", data)
    assert opened(path, count) == data
    controller.check_recording(path, KEY)  # by another library than the one that sealed it
    assert count < 16 or data not in path.read_bytes()


def test_a_file_of_another_key_is_not_opened(tmp_path: Path) -> None:
    path = seal(tmp_path / "sealed", b"x" * 200)
    with pytest.raises(Broken):
        opened(path, 200, OTHER)
    with pytest.raises(controller.Unproved):
        controller.check_recording(path, OTHER)


def changes(sealed: bytes) -> dict[str, bytes]:
    """Return what somebody could do to a file of four pieces, three of them full."""
    head, piece = len(sealing.MAGIC), 64 + sealing.TAG
    first, second = (sealed[head + n * piece : head + (n + 1) * piece] for n in (0, 1))
    rest = sealed[head + 2 * piece :]
    return {
        "no magic": b"y" + sealed[1:],
        "one bit": sealed[: head + 5] + bytes([sealed[head + 5] ^ 1]) + sealed[head + 6 :],
        "the last byte": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "cut in a piece": sealed[:-3],
        "cut between pieces": sealed[: head + 2 * piece],
        "nothing left": sealed[:head],
        "pieces swapped": sealed[:head] + second + first + rest,
        "a piece left out": sealed[:head] + second + rest,
        "something behind": sealed + b"z" * 100,
    }


@pytest.mark.parametrize("change", list(changes(bytes(400))))
def test_whatever_is_changed_is_noticed_by_both_ends(tmp_path: Path, change: str) -> None:
    path = seal(tmp_path / "sealed", b"x" * 200)
    path.write_bytes(changes(path.read_bytes())[change])
    with pytest.raises(Broken):
        opened(path, 200)
    with pytest.raises(controller.Unproved):
        controller.check_recording(path, KEY)


def test_more_than_is_there_cannot_be_read_and_less_is_not_all(tmp_path: Path) -> None:
    path = seal(tmp_path / "sealed", b"x" * 200)
    for count in (199, 201):
        with pytest.raises(Broken):
            opened(path, count)


def test_a_key_has_its_length(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal(tmp_path / "sealed", b"", b"short")
