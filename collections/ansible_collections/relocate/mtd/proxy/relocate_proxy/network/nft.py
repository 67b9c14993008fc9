# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables in this process, through libnftables: a transaction costs 0.4-0.8 ms where running ``nft`` costs 6-10 ms."""

from __future__ import annotations

import ctypes
import json
import threading

OUTPUT_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON of <nftables/libnftables.h>


#: libnftables keeps some of what it knows for the whole process: one thread at a time, whosever context it is.
_ALONE = threading.RLock()  # the collector may end a context wherever it runs


class NftError(RuntimeError):
    """The kernel or libnftables refused a transaction; nothing of it was applied."""


def listed(text: str) -> list[dict]:
    """Return the objects of libnftables' JSON. :raises NftError: it is none."""
    try:
        found = json.loads(text)["nftables"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise NftError("libnftables answered something that is no JSON of nftables") from error
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NftError("libnftables answered something that is no list of objects")
    return found


class Nft:
    """One libnftables context. Not thread-safe."""

    def __init__(self) -> None:
        lib = ctypes.CDLL("libnftables.so.1")
        lib.nft_ctx_new.restype = ctypes.c_void_p
        lib.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(lib, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(lib, name).argtypes = [ctypes.c_void_p]
            getattr(lib, name).restype = ctypes.c_char_p
        lib.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        lib.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        self._lib = lib
        self._context = lib.nft_ctx_new(0)
        lib.nft_ctx_buffer_output(self._context)
        lib.nft_ctx_buffer_error(self._context)

    def __del__(self) -> None:
        """Close its socket: libnftables ends the process when one has a number that ``select`` does not take."""
        with _ALONE:
            self._lib.nft_ctx_free(self._context)

    def run(self, commands: str) -> str:
        """Run ``commands`` as one transaction and return what it printed.

        :raises NftError: with libnftables' own words.
        """
        with _ALONE:
            failed = self._lib.nft_run_cmd_from_buffer(self._context, commands.encode())
        printed = (self._lib.nft_ctx_get_output_buffer(self._context) or b"").decode(errors="replace")
        words = (self._lib.nft_ctx_get_error_buffer(self._context) or b"").decode(errors="replace")
        if failed:
            raise NftError(words.strip() or f"nft refused: {commands}")
        return printed

    def query(self, command: str) -> list[dict]:
        """Run a ``list`` command and return libnftables' JSON objects. :raises NftError: as :meth:`run`, or there are none."""
        self._lib.nft_ctx_output_set_flags(self._context, OUTPUT_JSON)
        try:
            return listed(self.run(command))
        finally:
            self._lib.nft_ctx_output_set_flags(self._context, 0)
