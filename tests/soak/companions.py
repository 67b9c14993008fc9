# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on around the hopping container: a capture on the client's side, and a download whose every byte is counted."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

# Serves one connection an endless pattern in which nothing can be left out or repeated unnoticed, at a steady rate, until its
# standard input is closed; then says how much that was, and its digest. Arguments: port, bytes per second.
PATTERN_SERVER = """
import hashlib, select, socket, sys
rate, number, size, digest = int(sys.argv[2]), 0, 0, hashlib.sha256()
with socket.create_server(("", int(sys.argv[1]))) as server:
    print("listening", flush=True)
    peer, _ = server.accept()
with peer:
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        for _ in range(max(1, rate // 20 // 32)):
            block = hashlib.sha256(str(number).encode()).digest()
            number += 1
            peer.sendall(block)
            digest.update(block)
            size += len(block)
print(size, digest.hexdigest(), flush=True)
"""


class PatternServer:
    """The container's peer in the outside world."""

    def __init__(self, namespace: str, port: int, rate: int) -> None:
        """Listen on ``port`` in a network namespace; ``rate`` in bytes per second."""
        command = ["ip", "netns", "exec", namespace, sys.executable, "-c", PATTERN_SERVER, str(port), str(rate)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n", f"nothing can listen on port {port}"

    @property
    def running(self) -> bool:
        """Whether it still serves."""
        return self._process.poll() is None

    def finish(self) -> tuple[int, str]:
        """End the download; return its size in bytes and its digest."""
        out, _ = self._process.communicate(timeout=60)
        size, digest = out.split()
        return int(size), digest

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.running:
            self._process.kill()
            self._process.wait()


class Capture:
    """tcpdump at work on one interface of a network namespace."""

    def __init__(self, namespace: str, interface: str, path: Path) -> None:
        """Begin to capture into ``path``. Headers are enough, but those that ICMP errors quote as well: 128 bytes."""
        command = ["ip", "netns", "exec", namespace, "tcpdump", "-i", interface, "-s", "128", "-B", "16384", "-U", "-n"]
        # root stays root: the file lies in the test's own directory
        self._process = subprocess.Popen([*command, "-Z", "root", "-w", str(path)], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = ""
        while "listening on" not in said:
            line = self._process.stderr.readline()
            assert line, f"tcpdump did not begin: {said}"
            said += line

    def stop(self) -> int:
        """End the capture; return how many packets the kernel could not hand over."""
        self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=60)
        found = re.search(r"(\d+) packets? dropped by kernel", said)
        assert found, f"tcpdump did not say what it dropped: {said}"
        return int(found[1])

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
