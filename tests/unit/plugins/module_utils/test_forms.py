# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forms of addresses: which families each takes, and what is said of all else."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Wrong

LINK = "is an IPv6 address of one link alone"


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (_forms.address6, "2001:db8::1"),
        (_forms.address6, "FD00:0::1"),
        (_forms.network6, "2001:db8::/64"),
        (_forms.network6, "::/0"),
        (_forms.either_with_prefix, "192.0.2.1/24"),
        (_forms.either_with_prefix, "2001:db8::1/64"),
    ],
)
def test_what_has_the_form_stays_as_it_is(form: _forms.Form, value: str) -> None:
    """Who needs one form of all that an IPv6 address may have makes it."""
    assert form(value) == value


@pytest.mark.parametrize(
    ("form", "value", "says"),
    [
        (_forms.address6, "192.0.2.1", "is no IPv6 address"),
        (_forms.address6, "2001:db8::1/64", "is no IPv6 address"),
        (_forms.address6, "[2001:db8::1]", "is no IPv6 address"),
        (_forms.address6, "", "is no IPv6 address"),
        (_forms.address6, 1, "is no IPv6 address"),
        (_forms.address6, None, "is no IPv6 address"),
        (_forms.address6, "fe80::1", LINK),
        (_forms.address6, "fe80::1%eth0", LINK),
        (_forms.network6, "192.0.2.0/24", "is no IPv6 network, such as 2001:db8::/64"),
        (_forms.network6, "2001:db8::1/64", "is no IPv6 network, such as 2001:db8::/64"),
        (_forms.network6, "2001:db8::/129", "is no IPv6 network, such as 2001:db8::/64"),
        (_forms.either_with_prefix, "2001:db8::/129", "is no IP address with a prefix length, such as 192.0.2.1/24 or"),
        (_forms.either_with_prefix, "192.0.2.1/33", "is no IP address with a prefix length, such as 192.0.2.1/24 or"),
        (_forms.either_with_prefix, ["192.0.2.1/24"], "is no IP address with a prefix length"),
    ],
)
def test_what_has_not_the_form_is_told_why(form: _forms.Form, value: Any, says: str) -> None:
    """An address of one link is an address: its host cannot be reached by it through a router, and that is the reason."""
    with pytest.raises(Wrong) as wrong:
        form(value)
    assert str(wrong.value).startswith(says)
