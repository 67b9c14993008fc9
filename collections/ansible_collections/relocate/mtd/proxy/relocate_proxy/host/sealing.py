# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that holds secrets and lies on a disk: sealed with AES-256-GCM, piece by piece, while it is written.

Targets have Python's standard library alone, which has no cipher. But its ``ssl`` stands on OpenSSL's libcrypto, so that is
called directly. A file is ``MAGIC`` and then pieces of ``PIECE`` bytes, of which the last is shorter (and may be empty), each
followed by its tag of 16 bytes. The nonce of a piece is its number (11 bytes) and whether it is the last (1 byte): pieces
cannot be swapped, left out or cut off unnoticed (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizar, as in
age). A key seals one file and never another.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from typing import Any

from .syscalls import write_all

MAGIC = b"relocate sealed 1\n"
PIECE = 1 << 20
TAG = 16
KEY = 32
_SET_IV_LENGTH, _GET_TAG, _SET_TAG = 9, 16, 17  # EVP_CTRL_AEAD_*, <openssl/evp.h>
_LIBRARIES = ("libcrypto.so.3", "libcrypto.so.1.1")


class Broken(ValueError):
    """What is sealed cannot be opened: it was changed or cut off, or the key is another's."""


def _library() -> Any:
    for name in (*_LIBRARIES, ctypes.util.find_library("crypto")):
        if name:
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue
    raise OSError("this host has no OpenSSL (libcrypto): install the package libssl3")


class _Cipher:
    """AES-256-GCM with one key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY:
            raise ValueError(f"a key has {KEY} bytes, and this one {len(key)}")
        self._key = key
        self._crypto = _library()
        self._crypto.EVP_aes_256_gcm.restype = ctypes.c_void_p
        self._crypto.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
        self._algorithm = ctypes.c_void_p(self._crypto.EVP_aes_256_gcm())
        self._context = ctypes.c_void_p(self._crypto.EVP_CIPHER_CTX_new())
        if not self._context or not self._algorithm:
            raise OSError("OpenSSL has no AES-256-GCM on this host")

    def _do(self, worked: int) -> None:
        if worked != 1:
            raise OSError("OpenSSL refuses to work with AES-256-GCM on this host")

    def run(self, nonce: bytes, data: bytes, tag: bytes | None) -> tuple[bytes, bytes]:
        """Seal ``data``, or open it if its ``tag`` is given; return the outcome and the tag.

        :raises Broken: the tag is not that of these data, key and nonce.
        """
        crypto, context, seal = self._crypto, self._context, int(tag is None)
        out, length = ctypes.create_string_buffer(len(data) + TAG), ctypes.c_int()
        self._do(crypto.EVP_CipherInit_ex(context, self._algorithm, None, self._key, nonce, seal))
        if data:
            self._do(crypto.EVP_CipherUpdate(context, out, ctypes.byref(length), data, len(data)))
        if tag is not None:
            self._do(crypto.EVP_CIPHER_CTX_ctrl(context, _SET_TAG, TAG, ctypes.c_char_p(tag)))
        rest = ctypes.create_string_buffer(TAG)
        if crypto.EVP_CipherFinal_ex(context, rest, ctypes.byref(length)) != 1:
            raise Broken("it was changed, or sealed with another key")
        if tag is None:
            mark = ctypes.create_string_buffer(TAG)
            self._do(crypto.EVP_CIPHER_CTX_ctrl(context, _GET_TAG, TAG, mark))
            tag = mark.raw
        return out.raw[: len(data)], tag

    def close(self) -> None:
        """Forget the key that OpenSSL has."""
        self._crypto.EVP_CIPHER_CTX_free(self._context)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class Sealer:
    """Writes a sealed file.

    :param fd: of a new file; closed by :meth:`close`.
    """

    def __init__(self, fd: int, key: bytes) -> None:
        self._fd = fd
        self._cipher = _Cipher(key)
        self._waiting = bytearray()
        self._number = 0
        write_all(fd, MAGIC)

    def write(self, data: bytes | bytearray) -> None:
        """Append. :raises OSError: the disk refuses."""
        self._waiting += data
        while len(self._waiting) >= PIECE:
            self._seal(bytes(self._waiting[:PIECE]), last=False)
            del self._waiting[:PIECE]

    def _seal(self, data: bytes, last: bool) -> None:
        sealed, tag = self._cipher.run(_nonce(self._number, last), data, None)
        self._number += 1
        write_all(self._fd, sealed + tag)

    def finish(self) -> None:
        """Write the last piece; return when all is on the disk. :raises OSError: it refuses."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._cipher.close()
        os.close(self._fd)


class Opener:
    """Reads a sealed file, from its beginning to its end. Nothing is given out that has not been proved.

    :param fd: of the file; closed by :meth:`close`. :raises Broken: it is no such file.
    """

    def __init__(self, fd: int, key: bytes) -> None:
        self._file = os.fdopen(fd, "rb")
        self._cipher = _Cipher(key)
        self._opened = b""
        self._at = 0
        self._number = 0
        self._ended = False
        if self._file.read(len(MAGIC)) != MAGIC:
            raise Broken("it is no sealed file of this version")

    def read(self, count: int) -> bytes:
        """Return exactly so many of the next bytes. :raises Broken: they were changed, or there are fewer."""
        parts = []
        while count:
            if self._at == len(self._opened):
                self._next()
            part = self._opened[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next(self) -> None:
        if self._ended:
            raise Broken("it ends too early")
        data = self._file.read(PIECE + TAG)
        self._ended = len(data) < PIECE + TAG
        if len(data) < TAG:
            raise Broken("it was cut off")
        self._opened, _ = self._cipher.run(_nonce(self._number, self._ended), data[:-TAG], data[-TAG:])
        self._at = 0
        self._number += 1

    def finish(self) -> None:
        """See that all has been read. :raises Broken: there is more, or it was cut off."""
        while self._at == len(self._opened) and not self._ended:
            self._next()
        if self._at != len(self._opened):
            raise Broken("it has more than belongs to it")

    def close(self) -> None:
        """Close the file."""
        self._cipher.close()
        self._file.close()
