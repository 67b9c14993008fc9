# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's address plan, and what a container publishes.

Imports nothing else of the collection. Invariant: no two hosts are given an address in common.
"""
