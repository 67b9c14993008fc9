# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of snapshots: what is proved, what is refused in one sentence, and what retention never removes."""

from __future__ import annotations

import base64
import datetime
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots import asked
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.sealing import NoKey, StoreKey, Unproved
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.store import MANIFEST, RECORDING, Store, Unusable
from relocate_proxy.host.sealing import Sealer

DAY = 86400.0
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
SECRET = b"s" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", StoreKey(b"k" * 32))


def add(
    store: Store, container: str = "web", days_ago: float = 0, secret: bytes = SECRET, words: bytes = b"memory"
) -> str:
    """Put a snapshot into the store; return its id."""
    at = NOW - datetime.timedelta(days=days_ago)
    identifier = f"{at:%Y%m%d-%H%M%S}-{os.urandom(6).hex()}"
    place = store.begin(container, identifier)
    sealer = Sealer(os.open(place / RECORDING, os.O_WRONLY | os.O_CREAT), secret)
    sealer.write(words)
    sealer.finish()
    sealer.close()
    manifest = {"id": identifier, "container": container, "at": at.isoformat(), "host": "host1"}
    store.finish(place, manifest, secret)
    return identifier


def ids(store: Store) -> list[str]:
    return [each.id for each in store.snapshots("web")]


def test_a_snapshot_is_found_proved_and_opened(store: Store) -> None:
    old, new = add(store, days_ago=1), add(store)
    assert ids(store) == [new, old]
    assert store.find("web").id == new and store.find("web", old).id == old
    assert store.proved(store.find("web")) == SECRET
    assert [each.container for each in store.snapshots()] == ["web", "web"]
    manifest = (store.directory / "web" / new / MANIFEST).read_text()
    assert SECRET.hex() not in manifest and base64.b64encode(SECRET).decode() not in manifest


def rewritten(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"at": "2030-01-01T00:00:00+00:00"},
        {"host": "host9"},
        {"extra": 1},
        {"recording": {"bytes": 1, "sha256": "0"}},
        {"sealed_key": base64.b64encode(b"x" * 60).decode()},
        {"sealed_key": "?"},
        {"sealed_key": None},
    ],
)
def test_a_manifest_that_was_changed_is_refused(store: Store, changes: dict[str, Any]) -> None:
    name = add(store)
    rewritten(store.directory / "web" / name, **changes)
    with pytest.raises(Unusable, match=f"{name} of web cannot be used: its manifest was changed"):
        store.find("web", name)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 5000, '{"a": "\\ud800"}'])
def test_a_manifest_that_is_none_is_refused(store: Store, text: str) -> None:
    name = add(store)
    (store.directory / "web" / name / MANIFEST).write_text(text)
    with pytest.raises(Unusable, match="its manifest cannot be read"):
        store.find("web", name)


def test_another_key_says_so(store: Store) -> None:
    name = add(store)
    with pytest.raises(Unusable, match="sealed with another key"):
        Store(store.directory, StoreKey(b"o" * 32)).find("web", name)


def test_another_container_s_snapshot_is_refused_under_this_name(store: Store) -> None:
    name = add(store, "bank")
    (store.directory / "web").mkdir()
    shutil.copytree(store.directory / "bank" / name, store.directory / "web" / name)
    with pytest.raises(Unusable, match=r"it is the snapshot .* of bank"):
        store.find("web")


def test_a_recording_that_is_not_the_one_that_was_made_is_refused(store: Store) -> None:
    name, other = add(store), add(store, days_ago=1, words=b"Memory")
    recording = store.directory / "web" / name / RECORDING
    whole = recording.read_bytes()
    for wrong, words in (
        (whole[:-1], "bytes instead of"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "was changed"),
        ((store.directory / "web" / other / RECORDING).read_bytes(), "was changed"),
    ):
        recording.chmod(0o600)
        recording.write_bytes(wrong)
        with pytest.raises(Unusable, match=words):
            store.proved(store.find("web", name))
    recording.unlink()
    with pytest.raises(Unusable, match="cannot be read"):
        store.proved(store.find("web", name))


def test_what_is_not_whole_never_gets_its_name(store: Store) -> None:
    place = store.begin("web", "20261128-120000-x")
    (place / RECORDING).write_bytes(b"relocate sealed 1\n")
    with pytest.raises(Unproved):
        store.finish(place, {"id": "20261128-120000-x", "container": "web", "at": NOW.isoformat()}, SECRET)
    assert ids(store) == []
    with pytest.raises(Unusable, match="has no snapshot of web"):
        store.find("web")


def test_what_is_too_old_or_too_many_goes(store: Store) -> None:
    names = [add(store, days_ago=n) for n in (0, 1, 2, 40)]
    assert store.retain("web", 10, 30, NOW.timestamp()) == [names[3]]
    assert store.retain("web", 2, 30, NOW.timestamp()) == [names[2]]
    assert ids(store) == names[:2]


def test_the_newest_good_one_stays_whatever_is_asked_for(store: Store) -> None:
    good, broken, foreign = add(store, days_ago=400), add(store, days_ago=1), add(store)
    (store.directory / "web" / broken / RECORDING).chmod(0o600)
    (store.directory / "web" / broken / RECORDING).write_bytes(b"gone")
    rewritten(store.directory / "web" / foreign, host="host9")
    assert store.retain("web", 1, 30, NOW.timestamp()) == []
    assert good in ids(store)


def test_nothing_goes_while_none_is_good(store: Store) -> None:
    name = add(store, days_ago=400)
    rewritten(store.directory / "web" / name, host="host9")
    assert store.retain("web", 1, 1, NOW.timestamp()) == [] and ids(store) == [name]


def test_what_was_begun_long_ago_is_swept_away(store: Store) -> None:
    add(store)
    begun = store.begin("web", "20260101-000000-y")
    store.retain("web", 5, 30)
    assert begun.exists()
    os.utime(begun, (1, 1))
    store.retain("web", 5, 30)
    assert not begun.exists()


# -- the key ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (None, 0o600, "there is no key .* openssl rand"),
        (base64.b64encode(b"k" * 32).decode(), 0o640, "others may read"),
        (base64.b64encode(b"k" * 16).decode(), 0o600, "16 bytes instead of 32"),
        ("no base64!", 0o600, "cannot be read"),
        ("", 0o600, "0 bytes"),
    ],
)
def test_a_key_that_is_none_is_refused(tmp_path: Path, text: str | None, mode: int, words: str) -> None:
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(NoKey, match=words):
        StoreKey.read(path)


def test_a_key_in_the_store_protects_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="lies in the store"):
        asked.open_store({"store": str(tmp_path), "key": str(tmp_path / "keys" / "key")})


@pytest.mark.parametrize(("keep", "days"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, float("nan")), (1, float("inf"))])
def test_retention_that_makes_no_sense_is_refused(keep: int, days: float) -> None:
    with pytest.raises(Unusable):
        asked.check_retention({"keep": keep, "days": days})
