# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of one namespace's network, carried to another's by the real kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from relocate_proxy.network import sysctls

from .namespaces import Network

pytestmark = pytest.mark.kernel
#: Of all links and of one, with what sets others anew (forwarding), and of IPv6.
CHANGED = {
    "net/core/somaxconn": "777",
    "net/ipv4/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "2",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/eth0/accept_redirects": "0",
    "net/ipv4/ip_local_port_range": "20000\t30000",
    "net/ipv4/tcp_keepalive_time": "77",
    "net/ipv4/tcp_rmem": "4096\t65536\t1000000",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/lo/disable_ipv6": "0",
    "net/ipv6/neigh/eth0/gc_stale_time": "55",
}


def linked(network: Callable[[], Network]) -> Network:
    """Return a namespace with a link, as Docker gives it to a container."""
    made = network()
    made.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
    return made


def test_a_network_gets_the_settings_of_another(network: Callable[[], Network]) -> None:
    """Also what each link has of its own; nothing of it is told as lost."""
    old, new = linked(network), linked(network)
    for name, value in CHANGED.items():
        old.run("sh", "-c", f"echo '{value}' > /proc/sys/{name}")
    told = sysctls.read(old.path)
    assert {name: told[name] for name in CHANGED} == CHANGED and sysctls.is_sysctls(told)
    assert sysctls.give(new.path, told) == []
    assert sysctls.read(new.path) == told
    assert sysctls.give(new.path, told) == []


def test_what_the_kernel_does_not_give_is_told(network: Callable[[], Network]) -> None:
    """A congestion control that nobody has; what this kernel has not got at all is its own affair."""
    told = {"net/ipv4/tcp_congestion_control": "nobody_has_it", "net/ipv4/of_another_kernel": "1"}
    assert sysctls.give(linked(network).path, told) == ["net/ipv4/tcp_congestion_control"]


def test_what_belongs_to_the_host_is_not_told(network: Callable[[], Network]) -> None:
    """Nor is it written, whoever asks: it is read-only in any network but the host's own."""
    made = linked(network)
    told = sysctls.read(made.path)
    assert len(told) > 200 and "net/ipv4/tcp_mem" not in told and "net/ipv6/conf/eth0/mtu" not in told
    assert sysctls.give(made.path, {"net/ipv4/tcp_mem": "1\t2\t3"}) == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        ["net/a"],
        {"kernel/shmmax": "1"},
        {"net": "1"},
        {"net/../kernel/shmmax": "1"},
        {"net/ipv4/..": "1"},
        {"net/a b": "1"},
        {"/net/a": "1"},
        {"net/a": 1},
        {"net/a": "1\n"},
        {"net/a": "\u0661"},
        {"net/a": "1" * 1025},
        {f"net/{each}": "1" for each in range(20001)},
    ],
)
def test_a_strangers_settings_have_a_form(value: object) -> None:
    assert not sysctls.is_sysctls(value) and sysctls.is_sysctls({}) and sysctls.is_sysctls({"net/ipv4/x": "1\t2"})
