# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts say to each other and write down: states, journal, channel, and rehearsed failures.

May import ``host``. Invariants: ``states`` is the protocol, in one table. A journal line is on the disk before ``record``
returns. A channel is mutual TLS with keys that were made for one relocation.
"""
