# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subcommands: their arguments, and the text, tables and JSON that they print.

A subcommand is a file with ``register(app)``, its name in ``COMMANDS`` of ``cli.py``; what it prints at length lies beside
it (``plan_run``, ``simulate_file``, …) and is imported when the command runs. It may import every other package, and none may
import it. Invariant: with ``--json``, one document on stdout and nothing else.
"""
