# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots as the controller has them: the key that seals them (C(sealing)), where they lie, and which are kept (C(store)).

May import C(_trust). Invariants: what is in the store is useless without the key, which is not in it. Nothing of a snapshot is
used before its manifest was proved with the key. The newest good snapshot of a container is never removed.
"""
