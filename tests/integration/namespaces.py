# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network of a test's own, in the real kernel."""

from __future__ import annotations

import subprocess

from tests.lab.waiting import until


class Network:
    """A network namespace that lives as long as a sleeping process in it."""

    def __init__(self) -> None:
        """Make it, with its loopback up. Nobody else is on its links, so an IPv6 address is of use at once."""
        script = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; echo; exec sleep 300"
        self._process = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has its namespace now
        self.pid = self._process.pid
        self.path = f"/proc/{self.pid}/ns/net"
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str) -> str:
        """Run a command inside and return what it printed."""
        done = subprocess.run(["nsenter", f"--net={self.path}", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def join(self, link: str, address: str, peer: str) -> None:
        """Give an end of a link an address, and return when the one at its other end can be reached.

        Of IPv6 the kernel makes the routes some time later, though nobody is asked whether the address is taken.
        """
        self.run("ip", "address", "add", address, "peer", peer, "dev", link, *(["nodad"] if ":" in address else []))
        flag = "-6" if ":" in address else "-4"
        until(lambda: self.run("ip", flag, "route", "show", peer, "dev", link), f"a route to {peer}")

    def close(self) -> None:
        """Remove the namespace."""
        self._process.kill()
        self._process.communicate()
