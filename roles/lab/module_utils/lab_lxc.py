# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How LXC is told about a host of the lab, and how it is started."""

from __future__ import annotations

from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# LXC wants the sysfs of the namespace it makes the links in (it looks the bridge up there) and the machine's control groups:
# `ip netns exec` would give the first and hide the second. $1 is an empty directory, the rest is the command.
ENTER = (
    'mount --rbind /sys/fs/cgroup "$1" && mount -t sysfs sysfs /sys && mount --rbind "$1" /sys/fs/cgroup && umount -l "$1" && '
    'shift && exec "$@"'
)


def mac(address: str) -> str:
    """Return the link address of an interface, made of its IPv4 address (``10.77.0.11/24``).

    A host that is started again keeps it: with a random one its neighbours would send to the old one until they notice.
    """
    octets = [int(octet) for octet in address.partition("/")[0].split(".")]
    return ":".join(f"{octet:02x}" for octet in [0x0A, 0x58, *octets])


def config(host: dict[str, Any], directory: str, group: str) -> str:
    """Return the LXC configuration of a host."""
    lines = [
        f"lxc.uts.name = {host['name']}",
        f"lxc.rootfs.path = overlay:{host['root']}:{directory}/upper",
        "lxc.init.cmd = /usr/bin/busybox init",
        "lxc.environment = PATH=" + PATH,
        # dockerd's own root must not lie on an overlay: overlay on overlay fails
        f"lxc.mount.entry = {directory}/docker var/lib/docker none bind,create=dir 0 0",
        "lxc.mount.entry = tmpfs run tmpfs rw,mode=755 0 0",
        "lxc.mount.auto = proc:rw sys:rw",
        # never the machine's /dev: LXC would remove the real /dev/ptmx
        "lxc.autodev = 1",
        "lxc.console.path = none",
        "lxc.tty.max = 0",
        "lxc.pty.max = 256",
        "lxc.apparmor.profile = unconfined",
        "lxc.cap.drop = mac_admin mac_override sys_module",
        f"lxc.cgroup.dir.container = {group}/payload",
        f"lxc.cgroup.dir.monitor = {group}/monitor",
        # where the monitor goes to clean up after itself; the default, lxc.pivot, would be left behind
        f"lxc.cgroup.dir.monitor.pivot = {group}/pivot",
        "lxc.cgroup.dir.container.inner = host",
    ]
    for number, interface in enumerate(host["interfaces"]):
        net = f"lxc.net.{number}."
        lines += [
            net + "type = veth",
            net + f"name = eth{number}",
            net + f"link = {interface['bridge']}",
            net + f"veth.pair = {interface['bridge']}-{host['name']}",
            net + f"hwaddr = {mac(interface['address'])}",
            net + f"ipv4.address = {interface['address']}",
            net + f"ipv6.address = {interface['address6']}",
            net + "flags = up",
        ]
        if interface["gateway"]:
            lines += [net + f"ipv4.gateway = {interface['gateway']}", net + f"ipv6.gateway = {interface['gateway6']}"]
    return "\n".join(lines) + "\n"
