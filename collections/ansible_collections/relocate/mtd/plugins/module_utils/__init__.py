# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on targets: the standard library only, Python 3.9.

C(_) before a name means: private to this collection and this project; no stable interface for anybody else. All of it is.
The proxy program imports some of these files; C(roles/proxy_program/files/pack.py) finds out which.
"""
