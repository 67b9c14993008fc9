# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's table on a live host: reading it, changing it in one transaction, keeping its form on disk."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table
from ansible_collections.relocate.mtd.plugins.module_utils import _paths
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands, read_text

_OURS = ["table", edge_table.FAMILY, edge_table.TABLE]


class EdgeTable:
    """The table ``ip relocate`` of this host. Reads at once; writes only when told to."""

    def __init__(self, commands: Commands) -> None:
        """Work through ``commands``; keep ``table.nft`` and its companions where the unit for the next boot looks for them."""
        self._commands = commands
        self.boot_file = os.path.join(_paths.EDGE, "table.nft")
        self.raw_file = os.path.join(_paths.EDGE, "raw.rules")
        self.address_file = os.path.join(_paths.EDGE, "addresses.batch")

    def document(self) -> dict[str, Any] | None:
        """Return ``nft -j list table`` parsed, or None if there is no such table."""
        tables = self._commands.run_json(
            ["nft", "-j", "list", "tables", edge_table.FAMILY], what="listing the nft tables"
        )
        names = [entry["table"]["name"] for entry in tables["nftables"] if "table" in entry]
        if edge_table.TABLE not in names:
            return None
        document: dict[str, Any] = self._commands.run_json(["nft", "-j", "list", *_OURS], what="reading the table")
        return document

    def listing(self) -> str:
        """Return the table as nft text, less what lives only as long as a relocation; empty if there is none."""
        rc, out, _err = self._commands.run(["nft", "-s", "list", *_OURS], check=False)
        return edge_table.lasting_text(out) if rc == 0 else ""

    def rendered(self, text: str) -> tuple[dict[str, Any], str]:
        """Return what nft would list (JSON, text) had this table text been loaded, without touching this host's rules.

        nft versions print the same rule differently. Loading the text into a network namespace of its own, which dies
        with the command, asks this very version on this very kernel.
        """
        listed = " ".join(_OURS)
        script = f"nft -f - && nft -j list {listed} && nft -s list {listed}"
        _rc, out, _err = self._commands.run(
            ["unshare", "--net", "sh", "-c", script], stdin=text, what="trying the table in a namespace of its own"
        )
        document, _newline, listing = out.partition("\n")
        return json.loads(document), listing

    def kernel_queues(self) -> bool:
        """Return whether nftables on this kernel can queue packets by itself."""
        rc, _out, _err = self._commands.run(
            ["nft", "--check", "-f", "-"], stdin=edge_table.queue_probe_text(), check=False
        )
        return rc == 0

    def apply(self, text: str, what: str) -> None:
        """Run one nft transaction: all of it or nothing."""
        self._commands.run(["nft", "-f", "-"], stdin=text, what=what, label="apply")

    def boot_file_differs(self, listing: str) -> bool:
        """Return whether the form on disk is not that of a listing."""
        return read_text(self.boot_file) != edge_table.boot_text(listing)

    def write_boot_file(self, listing: str) -> None:
        """Write the form on disk of a listing."""
        self._prepare_directory()
        self._commands.write_file(self.boot_file, edge_table.boot_text(listing), 0o600)

    def write_beside(self, path: str, text: str) -> None:
        """Write another file that is loaded at boot: ``raw_file`` or ``address_file``."""
        self._prepare_directory()
        self._commands.write_file(path, text, 0o600)

    def _prepare_directory(self) -> None:
        os.makedirs(os.path.dirname(self.boot_file), mode=0o700, exist_ok=True)
