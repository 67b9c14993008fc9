# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where snapshots are, and what they are sealed with."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that open the store of snapshots."""

    DOCUMENTATION = r"""
options:
  store:
    description:
      - The directory that the snapshots are in, on the controller or mounted there. It need not be safe from readers.
      - Without it, C($XDG_STATE_HOME/relocate/snapshots).
    type: path
  key:
    description:
      - The file with the store's key, 32 bytes in base64, that nobody but its owner may read. It must not lie in the store.
      - Without it, C($XDG_CONFIG_HOME/relocate/snapshots.key).
    type: path
"""
