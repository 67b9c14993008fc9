# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter for the table of kernels and the CRIU versions they need."""

from __future__ import annotations

DOCUMENTATION = r"""
name: criu_problem
short_description: Why a version of CRIU cannot serve on a kernel
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Compares a CRIU version with what a kernel needs for containers that hold TCP connections.
positional: kernel
options:
  _input:
    description: The output of C(criu --version).
    type: str
    required: true
  kernel:
    description: The kernel's release, as in C(uname -r).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: This CRIU must do
  ansible.builtin.assert:
    that: not problem
    fail_msg: "{{ problem }}"
  vars:
    problem: "{{ criu.stdout | relocate.mtd.criu_problem(ansible_facts['kernel']) }}"
"""

RETURN = r"""
_value:
  description: The reason and the remedy in one sentence; empty if there is no problem.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.relocate.mtd.plugins.module_utils._criu import version_problem


def criu_problem_filter(version: Any, kernel: Any) -> str:
    """Return the sentence."""
    try:
        return version_problem(str(kernel), str(version)) or ""
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"criu_problem": criu_problem_filter}
