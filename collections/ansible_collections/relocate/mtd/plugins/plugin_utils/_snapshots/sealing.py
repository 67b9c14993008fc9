# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of a store of snapshots, and what it proves.

Each snapshot has a key of its own, which the host that records it hears and no other. It lies in the manifest, sealed
(AES-256-GCM) with the store's key, which never leaves the controller. The rest of the manifest is the associated data of
that seal: whoever changes a byte of it, or puts another container's key there, has broken it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
#: Of a recording, as C(host/sealing.py) of the proxy writes it.
MAGIC, PIECE, TAG_BYTES = b"relocate sealed 1\n", 1 << 20, 16
SEALED = "sealed_key"  # the one field of a manifest that is not sealed data


class Unproved(ValueError):
    """It is not what the key has sealed; the message is half a sentence."""


class NoKey(ValueError):
    """There is no usable key; the message is one sentence."""


class StoreKey:
    """The key of a store.

    :ivar name: tells two keys apart, and says nothing of either.
    """

    def __init__(self, secret: bytes) -> None:
        self._seal = AESGCM(secret)
        self.name = hashlib.sha256(b"relocate store key\0" + secret).hexdigest()[:16]

    @classmethod
    def read(cls, path: Path) -> StoreKey:
        """Return the key in a file. :raises NoKey: there is none, others may read it, or it is no key."""
        how = f"(umask 077; openssl rand -base64 {KEY_BYTES} > {path})"
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="ascii")
            secret = base64.b64decode(text.strip(), validate=True)
        except FileNotFoundError:
            raise NoKey(
                f"there is no key for snapshots at {path}: make one with {how}, and keep a copy elsewhere"
            ) from None
        except (OSError, UnicodeDecodeError, binascii.Error) as error:
            raise NoKey(f"the key for snapshots at {path} cannot be read ({error})") from None
        if stat.S_IMODE(mode) & 0o077:
            raise NoKey(f"others may read the key for snapshots at {path}: chmod 600 {path}")
        if len(secret) != KEY_BYTES:
            raise NoKey(
                f"the key for snapshots at {path} has {len(secret)} bytes instead of {KEY_BYTES}: make one with {how}"
            )
        return cls(secret)

    def seal(self, manifest: dict[str, Any], secret: bytes) -> dict[str, Any]:
        """Return a manifest with its snapshot's key in it, proved by this one."""
        told = {**manifest, "sealed_by": self.name}
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._seal.encrypt(nonce, secret, canonical(told))
        return {**told, SEALED: base64.b64encode(sealed).decode()}

    def open(self, manifest: dict[str, Any]) -> bytes:
        """Return the key of a snapshot. :raises Unproved: the manifest is not as it was sealed."""
        told = {name: value for name, value in manifest.items() if name != SEALED}
        if told.get("sealed_by") != self.name:
            raise Unproved("it was sealed with another key")
        try:
            sealed = base64.b64decode(manifest[SEALED], validate=True)
            return self._seal.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], canonical(told))
        except (KeyError, TypeError, ValueError, binascii.Error, InvalidTag):
            raise Unproved("its manifest was changed") from None


def canonical(document: dict[str, Any]) -> bytes:
    """Return a document as the same bytes, whoever has written it down meanwhile."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def new_secret() -> bytes:
    """Return a key for one snapshot."""
    return os.urandom(KEY_BYTES)


def check_recording(path: Path, secret: bytes) -> None:
    """Open every piece of a recording, and keep none.

    :raises Unproved: it was changed or cut off, or has another key; :raises OSError: it cannot be read.
    """
    seal = AESGCM(secret)
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Unproved("it is no recording of this version")
        number, last = 0, False
        while not last:
            piece = file.read(PIECE + TAG_BYTES)
            last = len(piece) < PIECE + TAG_BYTES
            try:
                seal.decrypt(number.to_bytes(11, "big") + bytes([last]), piece, None)
            except (InvalidTag, ValueError):
                raise Unproved("its recording was changed or cut off") from None
            number += 1
