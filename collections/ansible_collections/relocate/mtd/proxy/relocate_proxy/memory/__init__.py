# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container's memory: frozen, dumped, rewritten, sent; before the freeze (``rounds``) or after it (``lazy_pages``).

Inside: one run of CRIU's dump (``dump``, ``prepared_dump``), pre-copy (``rounds``), post-copy (``deferred``, ``lazy_pages``,
and the processes beside the proxy: ``page_process``, ``page_server``, ``filler``, ``missing``, ``recall``, ``userfault``),
what is read and changed in an image (``criu_image``, ``criu_sockets``, ``protobuf``), and CRIU processes that outlived their
proxy (``strays``).

May import ``files``, ``network``, ``protocol`` and ``host``. Invariants: CRIU is never killed while it works inside a task.
A memory image is in tmpfs or on a TLS channel, and overwritten when it has served.
"""
