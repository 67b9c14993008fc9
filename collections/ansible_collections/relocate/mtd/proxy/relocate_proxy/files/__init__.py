# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container's files: its writable layer, its file systems in memory, its log; and what Docker knows of the container.

May import ``network``, ``protocol`` and ``host``. Invariants: a tree is read from the directory that the container writes
to, and written through the mounted view of the copy. What the other host names is checked before it is opened.
"""
