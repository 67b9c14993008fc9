# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What packets meet: connections and their entries (``flows``, ``conntrack``), and the edge's rules and queue
(``packet_rules``, ``held_queue``) over netlink and nftables.

May import ``protocol`` and ``host``. Invariants: undoing what was never done is no error. An entry is placed before the
restored socket speaks. A held packet is released in order, or dropped for TCP to repeat; it never reaches two copies.
"""
