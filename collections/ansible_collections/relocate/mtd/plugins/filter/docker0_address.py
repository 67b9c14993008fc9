# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter for the fleet's address plan."""

from __future__ import annotations

DOCUMENTATION = r"""
name: docker0_address
short_description: The address of a host's docker0 bridge in the fleet's address plan
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Cuts a supernet into equal subnets and returns the first address of one of them, with its prefix length.
positional: prefix, index
options:
  _input:
    description: The supernet all hosts share, in CIDR notation.
    type: str
    required: true
  prefix:
    description: The length of one host's prefix, in bits.
    type: int
    required: true
  index:
    description: The host's number, from 0.
    type: int
    required: true
seealso:
  - module: relocate.mtd.docker0_address
"""

EXAMPLES = r"""
- name: 172.20.3.1/24
  ansible.builtin.debug:
    msg: "{{ '172.20.0.0/16' | relocate.mtd.docker0_address(24, 3) }}"
"""

RETURN = r"""
_value:
  description: An address with its prefix length.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.relocate.mtd.plugins.plugin_utils._addresses.address_plan import (
    AddressPlanError,
    docker0_address,
)


def docker0_address_filter(supernet: Any, prefix: Any, index: Any) -> str:
    """Return the address; the plan's complaint becomes the template's."""
    try:
        return docker0_address(str(supernet), int(prefix), int(index))
    except AddressPlanError as error:
        raise AnsibleFilterError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"prefix and index must be whole numbers, not {prefix!r} and {index!r}") from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"docker0_address": docker0_address_filter}
