# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document that a container is made again from: what the source writes, and what the destination does not take."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from relocate_proxy.files.creation import PARTS, Untrusted, changes, check, creation_document, dropped

INSPECT: dict[str, Any] = {
    "Id": "abcdef123456" + "0" * 52,
    "Name": "/web",
    "Config": {"Hostname": "abcdef123456", "Image": "r:5000/web:1", "Cmd": ["serve"], "Labels": {"a": "b"}},
    "HostConfig": {
        "NetworkMode": "shop",
        "Runtime": "runc",
        "RestartPolicy": {"Name": "always", "MaximumRetryCount": 3},
        "AutoRemove": True,
        "ContainerIDFile": "/tmp/id",
        "Memory": 1 << 30,
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
    },
    "NetworkSettings": {
        "Networks": {
            "shop": {
                "Aliases": ["web", "www", "abcdef123456"],
                "IPAddress": "172.30.0.2",
                "MacAddress": "02:42",
                "GwPriority": 5,
            }
        }
    },
}


def test_the_same_container_elsewhere() -> None:
    """Everything it was made from, on our runtime, started by nobody but us, and with an address that may change."""
    before = copy.deepcopy(INSPECT)
    body = creation_document(INSPECT)
    assert before == INSPECT, "the source's own description was changed"
    host = body.pop("HostConfig")
    assert host == {
        **INSPECT["HostConfig"],
        "Runtime": "relocate",
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "ContainerIDFile": "",
    }
    assert body.pop("NetworkingConfig") == {"EndpointsConfig": {"shop": {"Aliases": ["web", "www"], "GwPriority": 5}}}
    assert body == {**INSPECT["Config"], "Entrypoint": [""]}, "none, instead of the image's"


def test_an_entrypoint_and_an_address_that_were_asked_for() -> None:
    """Of an address that Docker chose nothing is said."""
    inspect = copy.deepcopy(INSPECT)
    inspect["Config"]["Entrypoint"] = ["/start"]
    inspect["NetworkSettings"]["Networks"]["shop"]["IPAMConfig"] = {"IPv4Address": "172.30.0.2"}
    body = creation_document(inspect)
    assert body["Entrypoint"] == ["/start"]
    assert body["NetworkingConfig"]["EndpointsConfig"]["shop"]["IPAMConfig"] == {"IPv4Address": "172.30.0.2"}


NO_RESTART = {"Name": "no", "MaximumRetryCount": 0}
ALWAYS = INSPECT["HostConfig"]["RestartPolicy"]


def test_a_container_that_nobody_has_changed() -> None:
    """What it does itself meanwhile is no change, nor is the order of its names, nor the policy that we put aside."""
    now = copy.deepcopy(INSPECT) | {"State": {"Pid": 7}, "ExecIDs": ["e1"]}
    assert changes(INSPECT, now, ALWAYS) == []
    now["NetworkSettings"]["Networks"]["shop"]["Aliases"].reverse()
    now["HostConfig"]["RestartPolicy"] = {"Name": "no"}
    assert changes(INSPECT, now, NO_RESTART) == []


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("Name",), "/other", "Name"),
        (("Config", "Labels"), {"a": "c"}, "Config.Labels"),
        (("HostConfig", "Memory"), 2 << 30, "HostConfig.Memory"),
        (("HostConfig", "NanoCpus"), 5, "HostConfig.NanoCpus"),
        (("HostConfig", "RestartPolicy"), {"Name": "on-failure", "MaximumRetryCount": 3}, "HostConfig.RestartPolicy"),
        (("HostConfig", "RestartPolicy"), {"Name": "always", "MaximumRetryCount": 3}, "HostConfig.RestartPolicy"),
        (("NetworkSettings", "Networks", "other"), {"Aliases": None}, "Networks.other"),
        (("NetworkSettings", "Networks"), {}, "Networks.shop"),
        (("NetworkSettings", "Networks", "shop", "IPAddress"), "172.30.0.3", "Networks.shop"),
        (("NetworkSettings", "Networks", "shop", "Aliases"), ["web"], "Networks.shop"),
    ],
)
def test_a_container_that_somebody_has_changed(path: tuple[str, ...], value: Any, place: str) -> None:
    """``docker update``, ``rename``, ``network connect`` and ``disconnect``."""
    now = copy.deepcopy(INSPECT)
    now["HostConfig"]["RestartPolicy"] = dict(NO_RESTART)
    inside: Any = now
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    assert changes(INSPECT, now, NO_RESTART) == [place]


def test_what_docker_leaves_out_of_what_it_was_asked_for() -> None:
    """It warns, and goes on. What it adds is its own affair."""
    body = {"HostConfig": {"BlkioWeight": 300, "Memory": 0, "CapAdd": ["SYS_PTRACE"], "Init": True, "Ulimits": None}}
    made = {"HostConfig": {"BlkioWeight": 0, "CapAdd": ["SYS_PTRACE"], "Ulimits": [{"Name": "nofile"}]}}
    assert dropped(body, made) == ["BlkioWeight", "Init"]


OPTIONS = {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}


@pytest.mark.parametrize(("mode", "network"), [("shop", "shop"), ("default", "bridge"), ("bridge", "bridge")])
def test_the_options_of_a_place_in_a_network_are_kept(mode: str, network: str) -> None:
    """Those of ``--network name=…,driver-opt=…``, on Docker's own bridge too, which takes nothing else of the kind."""
    inspect = copy.deepcopy(INSPECT)
    inspect["HostConfig"]["NetworkMode"] = mode
    inspect["NetworkSettings"]["Networks"] = {
        network: {"Aliases": None, "IPAddress": "172.30.0.2", "DriverOpts": OPTIONS}
    }
    names = {"Aliases": []} if mode == network == "shop" else {}
    body = creation_document(inspect)
    assert body["NetworkingConfig"] == {"EndpointsConfig": {network: {**names, "DriverOpts": OPTIONS}}}
    check(described(create=body), "web")


def test_addresses_are_kept_in_the_order_of_the_links() -> None:
    """Docker goes through its networks from where it begins, in the order in which it was told of them."""
    inspect = copy.deepcopy(INSPECT)
    inspect["HostConfig"]["NetworkMode"] = "back"
    inspect["NetworkSettings"]["Networks"] = {
        "back": {"IPAddress": "172.31.0.2"},
        "front": {"IPAddress": "172.30.0.2", "GlobalIPv6Address": "fd00:30::2"},
        "none": {"IPAddress": ""},
    }
    asked = {"eth0": "172.30.0.2", "eth1": "172.31.0.2"}
    places = creation_document(inspect, asked)["NetworkingConfig"]["EndpointsConfig"]
    assert list(places) == ["front", "back", "none"]
    assert places["front"]["IPAMConfig"] == {"IPv4Address": "172.30.0.2", "IPv6Address": "fd00:30::2"}
    assert places["none"]["IPAMConfig"] == {}
    unasked = creation_document(inspect)["NetworkingConfig"]["EndpointsConfig"]
    assert list(unasked) == ["back", "front", "none"] and not any("IPAMConfig" in each for each in unasked.values())


@pytest.mark.parametrize("links", [["eth0"], {"eth0": 7}, "eth0"])
def test_links_that_are_none(links: Any) -> None:
    with pytest.raises(Untrusted, match="has no proper links of its network"):
        check(described(links=links), "web")


@pytest.mark.parametrize("mode", ["default", "bridge"])
def test_dockers_own_bridge_needs_no_endpoint(mode: str) -> None:
    """Naming it would ask for aliases, which it has not."""
    inspect = copy.deepcopy(INSPECT)
    inspect["HostConfig"]["NetworkMode"] = mode
    inspect["NetworkSettings"]["Networks"] = {"bridge": {"Aliases": None}}
    assert "NetworkingConfig" not in creation_document(inspect)


def published(host: dict[str, Any], ports: dict[str, Any]) -> dict[str, Any]:
    """Return what the copy of a container with these settings will publish."""
    inspect = copy.deepcopy(INSPECT)
    inspect["HostConfig"].update(host)
    inspect["NetworkSettings"]["Ports"] = ports
    return creation_document(inspect)["HostConfig"]


def bound(*ports: int) -> list[dict[str, str]]:
    """Return what Docker says of ports that are bound on both wildcards."""
    return [{"HostIp": address, "HostPort": str(port)} for port in ports for address in ("0.0.0.0", "::")]


def test_a_port_that_was_asked_for_stays_as_it_was_asked() -> None:
    """And one that is only exposed stays unpublished."""
    asked = {"80/tcp": [{"HostIp": "192.0.2.1", "HostPort": "8080"}], "53/udp": [{"HostIp": "", "HostPort": "5353"}]}
    ports = {"80/tcp": [{"HostIp": "192.0.2.1", "HostPort": "8080"}], "53/udp": bound(5353), "9000/tcp": None}
    assert published({"PortBindings": asked}, ports)["PortBindings"] == asked


def test_a_port_that_docker_chose_is_kept() -> None:
    """The edge sends to it: another free one would be nobody's."""
    asked = {"80/tcp": [{"HostIp": "", "HostPort": ""}], "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000-8010"}]}
    ports = {"80/tcp": bound(32769), "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8003"}]}
    assert published({"PortBindings": asked}, ports)["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "32769"}],
        "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8003"}],
    }
    all_of_them = published(
        {"PortBindings": {}, "PublishAllPorts": True}, {"80/tcp": bound(32770), "9/udp": bound(32771)}
    )
    assert not all_of_them["PublishAllPorts"]
    assert all_of_them["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "32770"}],
        "9/udp": [{"HostIp": "", "HostPort": "32771"}],
    }


# -- what another host asks for -----------------------------------------------------------------------------------------


def described(**more: Any) -> dict[str, Any]:
    """Return what an honest source describes, with changes."""
    return {
        "name": "web",
        "create": creation_document(INSPECT),
        "image": "r:5000/web:1",
        "image_layers": ["sha256:1"],
        "restart_policy": {"Name": "always"},
        "masked": ["/proc/acpi", "/sys/firmware"],
        "memory": [{"point": "/dev/shm", "source": "shm", "options": "size=64m"}],
        "plain_cgroups": True,
        "volumes": [],
        "binds": [],
        "init": False,
        **more,
    }


def asking(**host: Any) -> dict[str, Any]:
    """Return the description of a source that asks for more of the host."""
    document = described()
    document["create"]["HostConfig"].update(host)
    return document


def test_an_honest_source_is_believed() -> None:
    """The container that is being moved, and nothing else."""
    check(described(), "web")
    check(described(masked=[], memory=[]), "web")


@pytest.mark.parametrize(
    "host",
    [
        {"Privileged": True},
        {"Binds": ["data:/data:shared"]},
        {"Binds": ["data"]},
        {"Binds": [5]},
        {"Binds": ["../x:/data"]},
        {"Binds": ["data:/data", "victim://data/"]},
        {"Mounts": ["x"]},
        {"Mounts": True},
        {"Binds": {"/": "/host"}},
        {"Mounts": [{"Type": "volume", "Source": "/", "Target": "/host"}]},
        {"Mounts": [{"Type": "volume", "Source": "data", "Target": 5}]},
        {"Mounts": [{"Type": "volume", "Source": "data"}]},
        {"Mounts": [{"Type": "volume", "Source": "a", "VolumeOptions": {"Subpath": "../.."}}]},
        {"Mounts": [{"Type": "volume", "Source": "a", "VolumeOptions": {"DriverConfig": {"Name": "nfs"}}}]},
        {"Mounts": [{"Type": "volume", "VolumeOptions": {"DriverConfig": {"Options": {"o": "bind", "device": "/"}}}}]},
        {"VolumesFrom": ["other"]},
        {"PidMode": "host"},
        {"IpcMode": "container:other"},
        {"UTSMode": "host"},
        {"NetworkMode": "host"},
        {"NetworkMode": "container:other"},
        {"Devices": [{"PathOnHost": "/dev/sda"}]},
        {"DeviceRequests": [{"Driver": "nvidia"}]},
        {"DeviceCgroupRules": ["b *:* rwm"]},
        {"VolumeDriver": "nfs"},
        {"VolumeDriver": ["nfs"]},
        {"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}]},
        {"Links": ["db:db"]},
        {"Runtime": "runc"},
        {"Runtime": "/tmp/evil"},
        {"RestartPolicy": {"Name": "always"}},
        {"ContainerIDFile": "/etc/passwd"},
        {"UsernsMode": "private"},
    ],
    ids=str,
)
def test_a_source_that_asks_for_the_host_gets_nothing(host: dict[str, Any]) -> None:
    """It may be somebody else's by now; what preflight refuses, it must not get in by the other door."""
    with pytest.raises(Untrusted, match="the source asks for a container that must not be made here"):
        check(asking(**host), "web")


def test_a_source_may_ask_for_volumes_of_dockers_own() -> None:
    """Made here, under their names, and empty. What lies under other names, or elsewhere, it does not get."""
    document = asking(
        Binds=["data:/data", "log:/log:ro,nocopy"],
        Mounts=[{"Type": "volume", "Source": "more", "Target": "/more", "VolumeOptions": {"NoCopy": True}}],
    )
    document["create"]["Volumes"] = {"/scratch": {}}
    document["volumes"] = [{"point": point, "name": point[1:], "labels": {}} for point in ("/more", "/data", "/log")]
    document["volumes"][0]["labels"] = {"tier": "db"}
    document["volumes"].append({"point": "/scratch"})
    check(document, "web")


@pytest.mark.parametrize(
    ("volumes", "binds"),
    [
        ([], ["victim:/data"]),
        ([{"point": "/data"}], ["victim:/data"]),
        ([{"point": "/data"}], ["victim:/data/"]),
        ([{"point": "/data", "name": "data", "labels": {}}], ["victim:/data"]),
        ([{"point": "/data", "name": "data", "labels": {}}], []),
        ([{"point": "/data", "name": "data", "labels": {}}], ["data:/data", "victim:/more"]),
        ([{"point": "/data", "name": "data", "labels": {}}, {"point": "/data"}], ["data:/data"]),
    ],
    ids=str,
)
def test_a_volume_that_is_somebody_elses(volumes: list[dict[str, Any]], binds: list[str]) -> None:
    """What is asked for by name and not made for this copy is here already: it would be emptied, and shown to a stranger."""
    document = asking(Binds=binds)
    document["volumes"] = volumes
    with pytest.raises(Untrusted, match="asks for other volumes of web than it describes"):
        check(document, "web")


@pytest.mark.parametrize(
    "volume",
    [
        None,
        {},
        {"point": 5},
        {"point": "/data", "name": "../../etc", "labels": {}},
        {"point": "/data", "name": "data"},
        {"point": "/data", "name": "data", "labels": {"a": 1}},
        {"point": "/data\nlibdir /x"},
    ],
    ids=str,
)
def test_a_volume_that_is_none(volume: Any) -> None:
    """Names reach Docker's API and its directories, mount points CRIU's configuration."""
    with pytest.raises(Untrusted):
        check(described(volumes=[volume]), "web")


ZONE = {"source": "/etc/localtime", "point": "/etc/localtime", "rule": "same", "digest": "d"}
SHARE = {"source": "/srv", "point": "/srv", "rule": "shared", "inode": 2, "probe": ".relocate-r-0", "secret": "s" * 32}


def test_a_source_may_ask_for_bind_mounts_with_evidence() -> None:
    """Whether this host shows what they name is another question: its policy's."""
    document = asking(
        Binds=["/etc/localtime:/etc/localtime:ro"], Mounts=[{"Type": "bind", "Source": "/srv", "Target": "/srv/"}]
    )
    document["binds"] = [SHARE, ZONE]
    check(document, "web")


@pytest.mark.parametrize(
    ("binds", "asked"),
    [
        ([], ["/:/host"]),
        ([ZONE], ["/etc/shadow:/etc/localtime:ro"]),
        ([ZONE], ["/etc/localtime:/etc/localtime:ro", "/:/host"]),
        ([ZONE], ["/etc/localtime:/etc/localtime"]),
        ([ZONE], []),
        ([ZONE, ZONE], ["/etc/localtime:/etc/localtime:ro"]),
        ([SHARE], ["/srv:/srv:rshared"]),
        ([SHARE], ["/srv"]),
        ([{**SHARE, "rule": "any"}], ["/srv:/srv"]),
        ([{**SHARE, "rule": ["shared"]}], ["/srv:/srv"]),
        ([{**SHARE, "rule": "same"}], ["/srv:/srv:ro"]),
        ([{**SHARE, "probe": "../../etc/machine-id"}], ["/srv:/srv"]),
        ([{**SHARE, "probe": None}], ["/srv:/srv"]),
        ([{**SHARE, "secret": ""}], ["/srv:/srv"]),
        ([{**SHARE, "inode": "2"}], ["/srv:/srv"]),
        ([{**SHARE, "point": "/srv\nlibdir /x", "source": "/srv"}], ["/srv:/srv\nlibdir /x"]),
        ([None], []),
    ],
    ids=str,
)
def test_a_bind_mount_without_evidence(binds: list[Any], asked: list[str]) -> None:
    """What is shown to the container is what was described, with what it takes to see that it is the same."""
    document = asking(Binds=asked)
    document["binds"] = binds
    with pytest.raises(Untrusted):
        check(document, "web")


def test_a_bind_mount_of_the_long_form_is_described_as_well() -> None:
    with pytest.raises(Untrusted, match="asks for other bind mounts"):
        check(asking(Mounts=[{"Type": "bind", "Source": "/", "Target": "/host"}]), "web")


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("value", [None, 5, "missing"])
def test_a_description_that_is_none(name: str, value: Any) -> None:
    """Of another version, or of no version at all."""
    document = described(**{name: value})
    if value == "missing":
        del document[name]
    with pytest.raises(Untrusted):
        check(document, "web")


def test_another_container_is_not_made() -> None:
    """The controller has said which one moves."""
    with pytest.raises(Untrusted, match="the source describes the container 'database' instead of web"):
        check(described(name="database"), "web")


@pytest.mark.parametrize(
    "point",
    ["/x\nlibdir /tmp", '/x" --action-script=/tmp/x', "/x\\", "/x]:y", "relative", "", "/x y", "/x\x00", None, 7, "/#"],
)
@pytest.mark.parametrize("key", ["masked", "memory"])
def test_a_mount_point_that_would_be_an_option_of_criu(point: Any, key: str) -> None:
    """Its configuration is read line by line; ``libdir`` loads programs."""
    with pytest.raises(Untrusted):
        check(described(**{key: [point if key == "masked" else {"point": point}]}), "web")


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": "web:1"},
        {"image_id": 7},
        {"image_digests": "sha256:1"},
        {"image_digests": [7]},
        {"image_layers": [None]},
        {"image": "another:1"},
    ],
    ids=str,
)
def test_an_image_that_is_described_wrongly(change: dict[str, Any]) -> None:
    """Its id is a digest, and the container is made of the image that was looked for."""
    with pytest.raises(Untrusted, match="image"):
        check(described(**change), "web")


def test_a_snapshot_that_is_older_than_the_images_id() -> None:
    """Its document gets what stands for not knowing it."""
    document = described()
    check(document, "web")
    assert (document["image_id"], document["image_digests"]) == ("", None)
