# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy: one program, three parts (source, destination, edge), that carries one container from host to host.

It is installed on every host, started for one relocation and gone after it. Everything that costs time (interpreters, TLS
handshakes, image pulls, the gated ``docker start``) is done before the first packet is held; from the hold to the release
no program of ours starts except CRIU. The parts decide between themselves: whoever started them may die meanwhile.

Reading order: ``protocol.states`` (the protocol in one page), ``parts.edge`` (the coordinator), ``parts.source``,
``parts.destination``, ``parts.endings``, ``restore.keeper``. A package imports only those on its right::

    parts > restore, memory > files > network > protocol > host

Standard library only; ``pycriu`` (the distribution's package beside CRIU) on hosts that run containers.
"""
