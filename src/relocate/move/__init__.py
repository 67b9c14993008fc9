# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves that somebody asks for now: what is run through ansible-runner, what is shown meanwhile, and what came of it.

``relocation`` runs the two playbooks that move and recover, ``playbook`` runs any. It may import the lab's paths and nothing
of the scheduler, whose launchers use it. Invariant: an outcome is the one that the hosts report; nothing here decides one.
"""
