# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that look at all their options before they do anything.

Ansible checks the type of an option and takes any text as a text: one of a million characters, one with a line end, one that is
no path, and nothing at all. The forms of C(_forms) say what is right for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Form, odd, sentence


class HostModule(AnsibleModule):
    """A module whose options have forms: all of them are looked at before anything else is done.

    :param forms: by option. Options with choices, and those that are true or false, need none.
    """

    def __init__(self, *, forms: Mapping[str, Form], argument_spec: dict[str, Any], **keywords: Any) -> None:
        self.params: dict[str, Any] = {}  # what ends a module needs them, and some of them cannot be read
        try:
            super().__init__(argument_spec=argument_spec, **keywords)
        except Exception as error:  # as Ansible has for a whole number "inf", a mapping "0", half a character
            if not hasattr(
                self, "cleanup_files"
            ):  # it was not about options: nothing had been made that could end a module
                raise
            self.fail_json(msg=f"the options cannot be read ({error}): see the documentation for the type of each")
        for name in self._needed(argument_spec, **keywords):
            if self.params.get(name) is None:  # Ansible takes the nothing of `name: null` for a value that was given
                self.fail_json(msg=f"the option {name} is nothing: give it a value")
        for problem in odd(argument_spec, forms, self.params):
            self.fail_json(msg=problem)

    def _needed(
        self,
        argument_spec: dict[str, Any],
        required_if: Sequence[tuple[str, Any, Sequence[str]]] = (),
        required_one_of: Sequence[Sequence[str]] = (),
        required_by: Optional[Mapping[str, Sequence[str]]] = None,
        **_others: Any,
    ) -> Iterator[str]:
        """Yield the options that have to have a value."""
        yield from (name for name, option in argument_spec.items() if option.get("required"))
        yield from (name for name, option in argument_spec.items() if option.get("default") is not None)
        for other, value, names in required_if:
            yield from names if self.params.get(other) == value else ()
        for names in required_one_of:
            if all(self.params.get(name) is None for name in names):
                yield names[0]
        for other, names in (required_by or {}).items():
            yield from names if self.params.get(other) else ()

    def fail_json(self, msg: str, **details: Any) -> NoReturn:
        """End the module with one sentence. What Ansible says of options repeats them, whatever they are."""
        super().fail_json(msg=sentence(msg), **details)
        raise AssertionError("fail_json returned")  # it never does; type checkers do not know
