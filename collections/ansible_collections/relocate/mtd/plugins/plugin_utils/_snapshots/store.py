# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store of snapshots: a directory of the controller, or one that is shared and mounted there.

C(STORE/CONTAINER/ID/) holds C(manifest.json) and C(recording.sealed). A snapshot is written beside, under a name with a dot
in front, and renamed when it is whole: what has its name is complete, or was changed since.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._room import room
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.sealing import (
    StoreKey,
    Unproved,
    check_recording,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import strangers

FORMAT = 1
MANIFEST, RECORDING = "manifest.json", "recording.sealed"
MANIFEST_BYTES = 4 << 20
CHUNK = 1 << 20
LATEST = "latest"
KEEP, DAYS = 5, 30.0
ABANDONED_SECONDS = 86400.0  # a snapshot that was begun and is not finished by then never will be


class Unusable(ValueError):
    """A snapshot cannot be used, and the message says why in one sentence."""


@dataclass(frozen=True)
class Snapshot:
    """One snapshot in a store.

    :ivar manifest: what it is of; empty if it cannot be read. :ivar problem: why it cannot be used; empty if its manifest
    was proved.
    """

    container: str
    id: str
    path: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def at(self) -> datetime.datetime | None:
        """When it was made."""
        try:
            return datetime.datetime.fromisoformat(self.manifest["at"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def recording(self) -> Path:
        """The sealed file."""
        return self.path / RECORDING

    def document(self) -> dict[str, Any]:
        """Return it as a result shows it."""
        told = ("at", "host", "image", "tenant", "memory_bytes", "frozen_ms")
        size = self.manifest.get("recording", {}).get("bytes")
        shown = {name: self.manifest.get(name) for name in told}
        return {"id": self.id, "container": self.container, **shown, "bytes": size, "problem": self.problem}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            whole.update(data)
    return whole.hexdigest()


class Store:
    """A directory of snapshots, and the key that proves them."""

    def __init__(self, directory: Path, key: StoreKey) -> None:
        self.directory = directory
        self.key = key

    def snapshots(self, container: str | None = None) -> list[Snapshot]:
        """Return the snapshots of a container, or of all, each container's newest first. Their recordings are not looked at."""
        names = [container] if container else sorted(self._names(self.directory))
        found = []
        for name in names:
            each = [self._read(name, identifier) for identifier in self._names(self.directory / name)]
            found += sorted(each, key=lambda one: one.id, reverse=True)  # an id begins with its time
        return found

    @staticmethod
    def _names(directory: Path) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(directory):
                if entry.is_dir(follow_symlinks=False) and strangers.is_container_name(entry.name):
                    yield entry.name

    def _read(self, container: str, identifier: str) -> Snapshot:
        path = self.directory / container / identifier
        try:
            with (path / MANIFEST).open("rb") as file:
                manifest = strangers.document(json.loads(file.read(MANIFEST_BYTES)))
            if not isinstance(manifest, dict):
                raise ValueError("it is no mapping")
        except (OSError, ValueError, RecursionError):
            return Snapshot(container, identifier, path, problem="its manifest cannot be read")
        try:
            self.key.open(manifest)
        except Unproved as error:
            return Snapshot(container, identifier, path, manifest, str(error))
        if manifest.get("format") != FORMAT:
            return Snapshot(container, identifier, path, manifest, "it is of another version of RELOCATE")
        if (manifest.get("container"), manifest.get("id")) != (container, identifier):
            problem = f"it is the snapshot {manifest.get('id')} of {manifest.get('container')}"
            return Snapshot(container, identifier, path, manifest, problem)
        return Snapshot(container, identifier, path, manifest)

    def find(self, container: str, wanted: str = LATEST) -> Snapshot:
        """Return a snapshot whose manifest was proved. :raises Unusable: there is no such."""
        found = self.snapshots(container)
        if not found:
            raise Unusable(f"the store {self.directory} has no snapshot of {container}")
        if wanted == LATEST:
            usable = [each for each in found if not each.problem]
            if not usable:
                raise Unusable(
                    f"no snapshot of {container} can be used: the newest, {found[0].id}, because {found[0].problem}"
                )
            return usable[0]
        for each in found:
            if each.id == wanted:
                if each.problem:
                    raise Unusable(f"the snapshot {wanted} of {container} cannot be used: {each.problem}")
                return each
        raise Unusable(
            f"the store {self.directory} has no snapshot {wanted} of {container}; its newest is {found[0].id}"
        )

    def proved(self, snapshot: Snapshot) -> bytes:
        """Return the key of a snapshot after its recording was compared with the manifest, byte for byte.

        :raises Unusable: it is not the one that was made.
        """
        name = f"the snapshot {snapshot.id} of {snapshot.container} cannot be used"
        if snapshot.problem:
            raise Unusable(f"{name}: {snapshot.problem}")
        known = snapshot.manifest["recording"]
        try:
            size = snapshot.recording.stat().st_size
            if size != known["bytes"]:
                raise Unusable(f"{name}: its recording has {size} bytes instead of {known['bytes']}")
            if digest(snapshot.recording) != known["sha256"]:
                raise Unusable(f"{name}: its recording was changed")
        except OSError as error:
            raise Unusable(f"{name}: its recording cannot be read ({error.strerror})") from None
        return self.key.open(snapshot.manifest)

    def room(self) -> dict[str, int | None]:
        """Return how much room it has: see C(_room.room). It may have to be made yet."""
        there = self.directory.absolute()
        while not there.exists():
            there = there.parent
        return room(str(there))

    def begin(self, container: str, identifier: str) -> Path:
        """Make the place where a snapshot is written, and return it. :raises OSError: the store cannot be written."""
        place = self.directory / container / f".{identifier}"
        place.mkdir(mode=0o700, parents=True)
        return place

    def finish(self, place: Path, manifest: dict[str, Any], secret: bytes) -> Snapshot:
        """Write the manifest of a recording that is in its place, and give the snapshot its name.

        :raises Unproved: the recording is not whole; :raises OSError: the store cannot be written.
        """
        recording = place / RECORDING
        check_recording(recording, secret)
        with recording.open("rb") as file:
            os.fsync(file.fileno())
        told = {**manifest, "format": FORMAT}
        told["recording"] = {"bytes": recording.stat().st_size, "sha256": digest(recording)}
        sealed = self.key.seal(told, secret)
        with (place / MANIFEST).open("w", encoding="utf-8") as text:
            os.fchmod(text.fileno(), 0o600)
            json.dump(sealed, text, indent=1)
            text.flush()
            os.fsync(text.fileno())
        final = place.with_name(place.name[1:])
        place.rename(final)
        directory = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)
        return Snapshot(manifest["container"], final.name, final, sealed)

    @staticmethod
    def abandon(place: Path) -> None:
        """Remove what was begun."""
        shutil.rmtree(place, ignore_errors=True)

    def retain(self, container: str, keep: int, days: float, now: float | None = None) -> list[str]:
        """Remove the snapshots of a container that are too many or too old; return their ids.

        The newest one whose recording is whole stays, whatever is asked for. One that cannot be proved is nobody's to count
        on: it takes no one's place, and goes when it is too old and a good one is there.
        """
        self._sweep(container, now)
        found = self.snapshots(container)
        newest = next((each for each in found if not each.problem and self._whole(each)), None)
        if newest is None:
            return []
        limit = datetime.datetime.fromtimestamp(time.time() if now is None else now, datetime.timezone.utc)
        limit -= datetime.timedelta(days=days)
        good = [each for each in found if not each.problem and each.id <= newest.id]
        removed = []
        for each in found:
            old = self._made(each) < limit
            many = each in good and good.index(each) >= keep
            if each != newest and (old or many):
                shutil.rmtree(each.path)
                removed.append(each.id)
        return removed

    @staticmethod
    def _made(snapshot: Snapshot) -> datetime.datetime:
        """Return when a snapshot was made; of one that is not proved, when its directory was written."""
        if snapshot.at is not None and not snapshot.problem:
            return snapshot.at
        return datetime.datetime.fromtimestamp(snapshot.path.stat().st_mtime, datetime.timezone.utc)

    def _whole(self, snapshot: Snapshot) -> bool:
        try:
            self.proved(snapshot)
        except Unusable:
            return False
        return True

    def _sweep(self, container: str, now: float | None) -> None:
        """Remove what was begun long ago and never finished."""
        before = (time.time() if now is None else now) - ABANDONED_SECONDS
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.directory / container):
                if entry.name.startswith(".") and entry.stat(follow_symlinks=False).st_mtime < before:
                    shutil.rmtree(entry.path, ignore_errors=True)
