# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter for the places where a service is reached."""

from __future__ import annotations

DOCUMENTATION = r"""
name: publications
short_description: Where a service is reached, from one line of text
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Turns C(ADDRESS:PORT:[HOST_PORT:]CONTAINER_PORT[/tcp|udp]), several of them separated by commas, into dictionaries.
  - The host's port is the virtual one unless it is given.
options:
  _input:
    description: The text.
    type: str
    required: true
seealso:
  - module: relocate.mtd.nat_service
"""

EXAMPLES = r"""
- name: One place
  ansible.builtin.debug:
    msg: "{{ '10.88.0.100:80:8080:80/tcp' | relocate.mtd.publications }}"
"""

RETURN = r"""
_value:
  description: Dictionaries with C(virtual_address), C(virtual_port), C(host_port), C(container_port) and C(protocol).
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.relocate.mtd.plugins.plugin_utils._addresses.publication import PublicationError, parse


def publications_filter(text: Any) -> list[dict[str, Any]]:
    """Return the places; the parser's complaint becomes the template's."""
    try:
        return parse(str(text))
    except PublicationError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"publications": publications_filter}
