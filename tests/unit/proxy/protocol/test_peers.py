# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's way to the other parts: what it says of one that is not there, and how it finds one again."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from relocate_proxy.protocol.channel import Listener
from relocate_proxy.protocol.peers import Peers


def test_a_part_that_does_not_listen_any_more_is_named_with_what_to_do() -> None:
    """A controller that is too slow finds that the parts have given up: the errno alone told nobody so."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        address = once.getsockname()
    with pytest.raises(
        ConnectionError, match=r"^the source's proxy does not answer \(Connection refused\): .* try again"
    ):
        Peers("r1", {}, {"source": address})
    assert Peers("r1", {}, {"source": address}, needed=False).channels == {}


def test_a_part_that_is_lost_while_another_is_waited_for_is_told_of_at_once(host: Path) -> None:
    """So that its next process is found before it believes that the edge is gone."""
    keys = credentials.make("r1")
    listeners = {part: Listener("127.0.0.1", keys[part]) for part in ("source", "destination")}
    with ThreadPoolExecutor(2) as pool:
        accepted = {part: pool.submit(each.accept, 5) for part, each in listeners.items()}
        peers = Peers("r1", keys["edge"], {part: ("127.0.0.1", each.port) for part, each in listeners.items()})
    channels = {part: each.result() for part, each in accepted.items()}
    again = threading.Event()

    def killed_and_back() -> None:
        channels["source"].close()
        channels["source"] = listeners["source"].accept(5)
        again.set()
        assert channels["source"].receive()["kind"] == "finish"
        channels["destination"].send("rolled_back")

    peers.on_loss = peers.reconnect
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(killed_and_back)
        with pytest.raises(TimeoutError):
            peers.expect("destination", "rolled_back", 1.0)
        assert again.is_set()
        peers.tell("source", "finish")
        assert peers.expect("destination", "rolled_back", 5.0)["kind"] == "rolled_back"
        other.result()
    peers.close()
    for each in (*channels.values(), *listeners.values()):
        each.close()


def test_an_answer_is_about_what_was_told(host: Path) -> None:
    """The one to an earlier line, for which nobody waited to the end, is not taken for that to the next."""
    keys = credentials.make("r1", ("source", "destination", "edge", "standby"))
    listener = Listener("127.0.0.1", keys["standby"])
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(listener.accept, 5)
        peers = Peers("r1", keys["edge"], {"standby": ("127.0.0.1", listener.port)})
        channel = accepted.result()
        channel.send("noted", state="routing")
        with pytest.raises(TimeoutError):
            peers.expect("standby", "noted", 0.3, state="rolled-back")
        channel.send("noted", state="rolled-back")
        assert peers.expect("standby", "noted", 5.0, state="rolled-back")["state"] == "rolled-back"
    peers.close()
    channel.close()
    listener.close()
