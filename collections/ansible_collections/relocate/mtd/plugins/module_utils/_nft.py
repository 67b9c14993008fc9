# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's tables on a live host: reading it, changing it in one transaction, keeping its form on disk."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table
from ansible_collections.relocate.mtd.plugins.module_utils import _paths
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands, read_text


class EdgeTable:
    """The tables ``ip relocate`` and ``ip6 relocate`` of this host. Reads at once; writes only when told to."""

    def __init__(self, commands: Commands) -> None:
        """Work through ``commands``; keep ``table.nft`` and its companions where the unit for the next boot looks for them."""
        self._commands = commands
        self.boot_file = os.path.join(_paths.EDGE, "table.nft")
        self.raw_files = {
            edge_table.IP4: os.path.join(_paths.EDGE, "raw.rules"),
            edge_table.IP6: os.path.join(_paths.EDGE, "raw6.rules"),
        }
        self.address_file = os.path.join(_paths.EDGE, "addresses.batch")

    def families(self) -> list[edge_table.Family]:
        """Return the families of the tables that there are."""
        found = self._commands.run_json(["nft", "-j", "list", "tables"], what="listing the nft tables")["nftables"]
        tables = [entry["table"] for entry in found if "table" in entry]
        names = [table["family"] for table in tables if table["name"] == edge_table.TABLE]
        return [kind for kind in edge_table.FAMILIES if kind.name in names]

    def document(self, kind: edge_table.Family) -> dict[str, Any] | None:
        """Return ``nft -j list table`` parsed, or None if there is no table of that family."""
        if kind not in self.families():
            return None
        command = ["nft", "-j", "list", "table", kind.name, edge_table.TABLE]
        document: dict[str, Any] = self._commands.run_json(command, what="reading the table")
        return document

    def whole(self) -> dict[str, Any] | None:
        """Return all tables in one document, or None if there is none."""
        documents = [self.document(kind) for kind in self.families()]
        entries = [entry for each in documents if each for entry in each["nftables"]]
        return {"nftables": entries} if documents else None

    def services(self) -> list[edge_table.Service]:
        """Return the services of all tables."""
        return edge_table.services(self.whole() or {"nftables": []})

    def listing(self, kind: edge_table.Family | None = None) -> str:
        """Return the tables as nft text, less what lives only as long as a relocation; empty if there is none.

        :param kind: the table of this family alone.
        """
        found = []
        for each in (kind,) if kind else edge_table.FAMILIES:
            rc, out, _err = self._commands.run(["nft", "-s", "list", "table", each.name, edge_table.TABLE], check=False)
            found += [edge_table.lasting_text(out)] if rc == 0 else []
        return "".join(found)

    def rendered(self, kind: edge_table.Family, text: str) -> tuple[dict[str, Any], str]:
        """Return what nft would list (JSON, text) had this table text been loaded, without touching this host's rules.

        nft versions print the same rule differently. Loading the text into a network namespace of its own, which dies
        with the command, asks this very version on this very kernel.
        """
        listed = f"table {kind.head}"
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
        """Write another file that is loaded at boot: one of ``raw_files``, or ``address_file``."""
        self._prepare_directory()
        self._commands.write_file(path, text, 0o600)

    def _prepare_directory(self) -> None:
        os.makedirs(os.path.dirname(self.boot_file), mode=0o700, exist_ok=True)
