# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host under everything else: where things lie, system calls that Python lacks, cgroups, mounts, Docker, secrets.

Imports nothing of this program.
"""
