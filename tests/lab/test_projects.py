# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose project on real hosts: a web server, a worker and a store on a private network, moved together.

A client outside counts through ``web``, which asks ``db`` over one connection; the worker counts there over two others, one of
IPv4 and one of IPv6. Whatever gets lost between them, anywhere, is a number that does not come.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import python_image
from direct import FAULTS, Heart
from fleet import NO_LIMIT, REPOSITORY, VIRTUAL, Fleet
from run_options import options_of

pytestmark = pytest.mark.lab

PROJECT, PORT = "shop", 7341
NAMES = ("shop-db-1", "shop-worker-1", "shop-web-1")
LABELS = f"--label com.docker.compose.project={PROJECT} --label com.docker.compose.network"
#: The networks of the project, on the host where it begins: one as Compose makes it, with a subnet that Docker chooses, and
#: one with every option that is carried. Docker chooses from 172.17.0.0 on, in turn, and from 192.168.0.0: none of that is
#: named.
NETWORKS = {
    "shop_default": f"{LABELS}=default",
    "shop_private": f"{LABELS}=private --driver bridge --scope local --subnet 10.99.78.0/24 --ip-range 10.99.78.0/25 "
    "--gateway 10.99.78.1 --aux-address printer=10.99.78.9 --ipv6 --subnet fd00:30:78::/64 --internal --attachable "
    "--ipam-driver default --ipam-opt a=b --opt com.docker.network.driver.mtu=1400 "
    "--opt com.docker.network.bridge.name=br-shop",
}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "projects.md"

#: Answers each line with the next number of that connection.
DB = """
import socket, socketserver, threading, time

class Counting(socketserver.StreamRequestHandler):
    def handle(self):
        number = 0
        for _ in self.rfile:
            number += 1
            self.wfile.write(b"%d\\n" % number)

socketserver.ThreadingTCPServer.request_queue_size = 64
socketserver.ThreadingTCPServer.address_family = socket.AF_INET6  # and IPv4 with it
server = socketserver.ThreadingTCPServer(("", 6000), Counting)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
while True:
    print('{"wrong": [], "at": %f}' % time.time(), flush=True)
    time.sleep(0.1)
"""

COMMON = """
import json, socket, socketserver, threading, time
wrong, seen = [], {"count": 0}

def connected():
    while True:
        try:
            connection = socket.create_connection(("db", 6000))
        except OSError:
            time.sleep(0.1)
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, connection.makefile("rb")

def look():
    while True:
        try:  # not by getaddrinfo, whose netlink socket may have something unread in it when all is frozen
            seen["db"] = socket.gethostbyname_ex("db")[2][0]
            seen["back"] = socket.gethostbyname_ex("db-private")[2][0] if BACK else None
        except OSError as error:
            seen["db"] = str(error)
        print(json.dumps({"wrong": wrong, "at": time.time(), **seen}), flush=True)
        time.sleep(0.3)

threading.Thread(target=look, daemon=True).start()
"""

WORKER = (
    "BACK = True\n"
    + COMMON
    + """
def connected6():
    while True:
        try:
            place = socket.getaddrinfo("db-private", 6000, socket.AF_INET6, socket.SOCK_STREAM)[0][4]
            connection = socket.create_connection(place[:2])
        except OSError:
            time.sleep(0.1)
            continue
        return connection, connection.makefile("rb")

ways = [connected(), connected6()]
while True:
    try:
        for connection, answers in ways:
            connection.sendall(b"x\\n")
            number = int(answers.readline())
            if number != seen["count"] + 1:
                raise ValueError(f"after {seen['count']} came {number}")
        seen["count"] += 1
    except (OSError, ValueError) as error:
        wrong.append(f"{type(error).__name__}: {error}")
        time.sleep(1)
    time.sleep(0.001)
"""
)

WEB = (
    "BACK = False\n"
    + COMMON
    + """
class Asking(socketserver.StreamRequestHandler):
    def handle(self):
        connection, answers = connected()
        for line in self.rfile:
            connection.sendall(line)
            self.wfile.write(answers.readline())

server = socketserver.ThreadingTCPServer(("", 7000), Asking)
server.daemon_threads = True
server.serve_forever()
"""
)
#: Shows why names may not be answered in a container: its resolv.conf, its rules, and who listens there.
NAMING = f"""
for name in {" ".join(NAMES)}; do
    echo "== $name"; cat $(docker inspect -f '{{{{.ResolvConfPath}}}}' $name)
    enter="nsenter -t $(docker inspect -f '{{{{.State.Pid}}}}' $name) -n"; $enter nft list ruleset; $enter ss -lnu
done; docker network inspect shop_default
"""
ADDRESS = "docker inspect -f '{{.NetworkSettings.Networks.shop_default.IPAddress}}'"
PROGRAMS = {"db": DB, "worker": WORKER, "web": WEB}


class Shop:
    """The project, as ``docker compose up`` leaves it."""

    def __init__(self, fleet: Fleet, host: str) -> None:
        self.fleet = fleet
        python_image.make(fleet)
        for network, options in NETWORKS.items():
            fleet.on(host, f"docker network create {options} {network}")
        for service, program in PROGRAMS.items():
            label = "com.docker.compose"
            options = f"--label {label}.project={PROJECT} --label {label}.service={service}"
            options += f" --label {label}.container-number=1 --network shop_default --network-alias {service}"
            if service != "db":
                options += f" --label {label}.depends_on=db:service_started:false"
            if service == "web":
                options += f" -p {PORT}:7000"
            if service != "db":
                options += " --label relocate.mtd/enabled=true"
            python_image.run(fleet, host, f"{PROJECT}-{service}-1", program, options)
            if service != "web":
                joining = f"docker network connect --alias {service}-private shop_private {PROJECT}-{service}-1"
                fleet.on(host, joining)
        self.settings = self.networks(host)
        self.addresses = dict(zip(NAMES, fleet.on(host, f"{ADDRESS} {' '.join(NAMES)}").split(), strict=True))
        place = f"{fleet.variables(host)['ansible_host']} . {PORT}"
        element = f'tcp . {VIRTUAL} . {PORT} comment "shop-web-1" : {place}'
        fleet.on("host0", f"nft 'add element ip relocate services {{ {element} }}'")
        inspect = "docker inspect -f '{{.State.Pid}}'"
        listens = f"nsenter -t $({inspect} shop-web-1) -n ss -ltnH 'sport = :7000' | grep -q ."
        fleet.on(host, f"for i in $(seq 200); do {listens} && exit; sleep 0.1; done; exit 1")

    def remove(self) -> None:
        """Remove it everywhere."""
        self.fleet.remove_tenants()
        for each in self.fleet.docker_hosts:
            self.fleet.on(each, f"docker network rm -f {' '.join(NETWORKS)}")

    def networks(self, host: str) -> dict[str, dict[str, Any]]:
        """Return the networks of the project on a host: what ``docker network inspect`` says of them, and of no host alone."""
        listed = self.fleet.on(host, f"docker network inspect {' '.join(NETWORKS)} 2>/dev/null || true")
        return {
            each["Name"]: {
                name: each[name] for name in each if name not in ("Id", "Created", "Containers", "EnableIPv4")
            }
            for each in json.loads(listed)
        }

    def where(self) -> set[str]:
        """Return the hosts on which containers of it run."""
        return {host for name in NAMES for host in self.fleet.where(name)}

    def move(self, to: str, *more: str, check: bool = True) -> dict[str, Any]:
        """Move it with the command; return the result document."""
        command = ["relocate", "move", "--project", PROJECT, "--to", to, "--downtime-limit", NO_LIMIT, "--json", *more]
        done = self.fleet.run(*command, check=False)
        assert done.stdout, f"relocate move printed nothing: {done.stderr}"
        result: dict[str, Any] = json.loads(done.stdout)
        assert not check or result["outcome"] == "committed", result.get("msg")
        return result

    def assert_whole(self, host: str) -> None:
        """See that all of it runs on a host and nowhere else, and that its members find and serve each other."""
        assert [self.fleet.where(name) for name in NAMES] == [[host]] * len(NAMES)
        begin, first, deadline = time.time(), None, time.monotonic() + 30
        while True:
            now = {name: json.loads(self.fleet.on(host, f"docker logs --tail 1 {name}")) for name in NAMES}
            assert not any(each["wrong"] for each in now.values()), now
            count = now["shop-worker-1"]["count"]
            if min(each["at"] for each in now.values()) > begin:
                first = count if first is None else first
                found = {now[name]["db"] for name in ("shop-worker-1", "shop-web-1")}
                back = now["shop-worker-1"]["back"]
                if count > first and found == {self.addresses["shop-db-1"]} and back == "10.99.78.2":
                    return
            assert time.monotonic() < deadline, f"{now}\n{self.fleet.on(host, NAMING)}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def shop(prepared: Fleet) -> Iterator[Shop]:
    """Return the project, on host1."""
    made = Shop(prepared, "host1")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def heart(shop: Shop) -> Iterator[Heart]:
    """Return a connection of a client outside, through web to db."""
    beating = Heart(shop.fleet, PORT)
    yield beating
    beating.end()


def test_a_project_moves_together_to_another_docker_and_back(shop: Shop, heart: Heart) -> None:
    for host, what in (("host3", "made"), ("host1", "renewed")):
        result = shop.move(host)
        assert [each["container"] for each in result["members"]] == ["shop-db-1", "shop-web-1", "shop-worker-1"]
        assert {each["container"]: each["address_after"] for each in result["members"]} == shop.addresses
        assert {each["settings"]["Name"]: each["what"] for each in result["networks"]} == dict.fromkeys(NETWORKS, what)
        assert shop.networks(host) == shop.settings
        heart.assert_beats()
        shop.assert_whole(host)


def test_every_option_of_a_network_has_a_decision(shop: Shop) -> None:
    """Docker gets new ones: a version that the page does not know fails this. Those that are kept, the project has."""
    rows = (
        PAGE.read_text(encoding="utf-8").partition("# Every option of `docker network create`")[2].partition("\n## ")[0]
    )
    decided = {
        option: line.split("|")[2].strip()
        for line in rows.splitlines()
        if line.startswith("| `")
        for option in options_of(line.split("|")[1].replace("`", " "))
    }
    offered = [options_of(shop.fleet.on(host, "docker network create --help")) for host in ("host1", "host3")]
    assert set.union(*offered) == decided.keys()
    assert set(decided.values()) == {"kept", "refused"}
    kept = {option for option, verdict in decided.items() if verdict == "kept"}
    assert options_of(" ".join(NETWORKS.values())) == kept & offered[0]


def test_what_stands_against_one_is_a_reason_against_all(shop: Shop, heart: Heart) -> None:
    """Nothing is touched. And none of them leaves the others."""
    shop.fleet.on("host2", f"docker create --name shop-worker-1 {python_image.IMAGE} true")
    shop.fleet.on("host2", "docker network create --subnet 10.99.78.64/26 other")
    try:
        before = shop.fleet.picture()
        result = shop.move("host2", check=False)
        assert result["outcome"] == "refused"
        assert "host2 already has a container named shop-worker-1" in result["msg"]
        assert "whose network 'other' (10.99.78.64/26) overlaps with it: remove that one there" in result["msg"]
        assert {each["container"]: each["outcome"] for each in result["members"]} == dict.fromkeys(NAMES, "refused")
        alone = shop.fleet.move("shop-web-1", "host3", check=False)
        assert alone["outcome"] == "refused"
        assert "with others of its project shop (shop-db-1, shop-worker-1)" in alone["msg"]
        assert shop.fleet.picture() == before
    finally:
        shop.fleet.on("host2", "docker rm shop-worker-1")
        shop.fleet.on("host2", "docker network rm other")
    heart.assert_beats()


@pytest.mark.parametrize(
    ("part", "state", "there"),
    [("source", "freezing", False), ("edge", "routing", False), ("edge", "committed", True)],
)
def test_a_part_that_is_killed_leaves_the_project_whole(
    shop: Shop, heart: Heart, part: str, state: str, there: bool
) -> None:
    """The order is obeyed once, by the part of whichever member comes there first.

    The networks are made for the move: they stay, or are taken away again.
    """
    (here,) = shop.where()
    to = "host2"
    assert shop.networks(to) == {}
    at = {"source": here, "destination": to, "edge": "host0"}[part]
    order = {"part": part, "state": state, "moment": "after", "do": "kill"}
    shop.fleet.on(at, f"cat > {FAULTS}", data=json.dumps(order))
    result = shop.move(to, check=False)
    assert not shop.fleet.on(at, f"ls {FAULTS} 2>/dev/null || true"), "the line was never reached"
    assert result["outcome"] == ("committed" if there else "rolled-back"), result.get("msg")
    heart.assert_beats()
    assert shop.networks(to) == (shop.settings if there else {})
    shop.assert_whole(to if there else here)
    ids = [result["id"], *(each["id"] for each in result["members"])]
    for host in ("host0", here, to):
        ended = 'grep -L \'"state":"\\(done\\|rolled-back\\)"\''
        unfinished = [
            shop.fleet.on(host, f"cd /var/lib/relocate/journal; {ended} {each}.*.jsonl || true") for each in ids
        ]
        assert not any(unfinished), unfinished


def test_a_clock_moves_all_of_a_project(shop: Shop, heart: Heart, tmp_path: Path) -> None:
    """Two of the three are the scheduler's; one clock is that of all, and of what it did the ledger has a line of each."""
    (here,) = shop.where()
    config, ledger = tmp_path / "schedule.yml", tmp_path / "ledger"
    settings = {
        "store": {"url": f"sqlite:///{tmp_path}/schedule.sqlite"},
        "inventory": "inventories/lab",
        "variables": {"relocate_downtime_limit_ms": float(NO_LIMIT)},
    }
    config.write_text(json.dumps(settings))
    scheduled = ("relocate", "schedule", "--once", "--config", str(config))
    done = shop.fleet.run(*scheduled, check=False, RELOCATE_LEDGER=str(ledger))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert {(line["container"], line["outcome"]) for line in lines} == {(name, "committed") for name in NAMES}
    assert len(lines) == len(NAMES) and len({line["together"] for line in lines}) == 1
    assert all(line["reason"] == "once" and line["alerted_at"] for line in lines)
    (firing,) = json.loads(shop.fleet.run("relocate", "history", "--config", str(config), "--json").stdout)
    assert (firing["container"], firing["source"], firing["outcome"]) == ("shop-web-1", here, "committed")
    status = json.loads(shop.fleet.run("relocate", "status", "--config", str(config), "--json").stdout)
    assert {each["container"]: each["host"] for each in status["tenants"]} == dict.fromkeys(
        ("shop-web-1", "shop-worker-1"), firing["destination"]
    )
    heart.assert_beats()
    shop.assert_whole(firing["destination"])


def test_a_crowd_moves_together(fleet: Fleet) -> None:
    """Twelve: each has a queue of its own at the edge, and a client of its own outside."""
    number, first, project = 12, 7360, "crowd"
    names = [f"{project}-counter-{each}" for each in range(1, number + 1)]
    fleet.on(
        "host1", f"docker network create --label com.docker.compose.project={project} --subnet 10.99.79.0/24 {project}"
    )
    labels = f"--label com.docker.compose.project={project} --label com.docker.compose.service=counter"
    places = []
    for port, name in enumerate(names, first):
        fleet.tenants.append(name)
        run = f"docker run -d --name {name} {labels} --network {project} -p {port}:7000 {REPOSITORY}/counter:1 7000 8"
        fleet.on("host1", run)
        places.append(
            f'tcp . {VIRTUAL} . {port} comment "{name}" : {fleet.variables("host1")["ansible_host"]} . {port}'
        )
    fleet.on("host0", f"nft 'add element ip relocate services {{ {', '.join(places)} }}'")
    for name in names:
        fleet.await_listener("host1", name, 7000)
    hearts = [Heart(fleet, port) for port in range(first, first + number)]
    try:
        for host in ("host3", "host1"):
            command = ("relocate", "move", "--project", project, "--to", host, "--downtime-limit", NO_LIMIT, "--json")
            result = json.loads(fleet.run(*command).stdout)
            assert [each["outcome"] for each in result["members"]] == ["committed"] * number, result.get("msg")
            for heart in hearts:
                heart.assert_beats()
        assert [fleet.where(name) for name in names] == [["host1"]] * number
    finally:
        for heart in hearts:
            heart.end()
        fleet.remove_tenants()
        for host in ("host1", "host3"):
            fleet.on(host, f"docker network rm -f {project}")
