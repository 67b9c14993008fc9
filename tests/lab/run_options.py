# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ``docker run``: what ``docs/options.md`` says of each, and containers that have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"
KEPT, REFUSED, NO_EFFECT = "kept", "refused", "no effect"
NOT_TRIED = " (not tried)"
NETWORK, SUBNET, SUBNET6 = "options", "172.31.7.0/24", "fd00:31:7::/64"

#: Two containers that have all options that are kept: those that exclude each other are in one each.
WHOLE = f"""
--add-host a.test:192.0.2.1 --annotation org.example.a=b --cap-add SYS_PTRACE --cap-drop NET_RAW
--cgroup-parent $([ $(docker info -f '{{{{.CgroupDriver}}}}') = systemd ] && echo options.slice || echo /options)
--cgroupns private --cidfile /run/whole.cid --cpu-shares 512 --cpus 1.5 --cpuset-cpus 0 --cpuset-mems 0
--dns 192.0.2.53 --dns-option ndots:2 --dns-search example.test --domainname example.test --hostname box
--entrypoint /bin/busybox --env A=b --env-file /run/options.env --expose 7303 --group-add 20
--health-cmd true --health-interval 1h --health-retries 2 --health-start-interval 1h --health-start-period 1s
--health-timeout 9s --init --ip 172.31.7.9 --ip6 fd00:31:7::9 --link-local-ip 169.254.7.7 --ipc private
--label c=d --label-file /run/options.env --log-driver json-file --log-opt max-size=1m --log-opt max-file=2
--mac-address 02:42:0a:00:00:77 --memory 64m --memory-reservation 32m --memory-swap 96m --memory-swappiness 10
--mount type=tmpfs,dst=/m,tmpfs-size=1m --network name={NETWORK},driver-opt=org.example.kept=yes --network-alias other
--oom-kill-disable --oom-score-adj 100 --pids-limit 50 --platform linux/amd64 --publish 7301 --read-only
--restart on-failure:3 --runtime runc --security-opt no-new-privileges --shm-size 8m --stop-signal SIGINT
--stop-timeout 3 --sysctl net.core.somaxconn=777 --sysctl kernel.msgmax=9000 --tmpfs /scratch:size=1m
--ulimit nofile=200:300 --user 1000:1000 --userns host --volume options-volume:/data --workdir /tmp
"""
SECOND = """
--cgroupns host --cpu-period 50000 --cpu-quota 25000 --no-healthcheck --expose 7304 --log-driver local
--network name=bridge,driver-opt=org.example.kept=yes
--publish-all --rm --security-opt seccomp=unconfined --security-opt systempaths=unconfined --volume-driver local
--volume /anonymous
"""
#: One container for each option that is refused: the option, and what is said of it.
REFUSALS = {
    "--device /dev/null:/dev/other": "uses devices of this host",
    "--device-cgroup-rule 'c 1:3 r'": "may use devices of this host (--device-cgroup-rule)",
    "--interactive": "reads a standard input",
    "--ipc shareable": "offers its shared memory to others (--ipc shareable)",
    "--ipc container:partner": "shares its shared memory (container:",
    "--link partner": "is linked to others (--link)",
    "--network host": "uses the host's network",
    "--network none": "has no network of its own",
    "--network container:partner": "has no network of its own",
    "--pid host": "shares its processes",
    "--pids-limit 1": "may have one process only",
    "--privileged": "is privileged",
    "--publish 127.0.0.7:7390:80": "publishes a port on one address of this host",
    "--tty": "has a terminal",
    "--uts host": "shares its host name",
    "--volume /tmp:/there": "the bind mount of /tmp at /there",
    "--volumes-from partner": "has the volumes of another",
}
#: The same, of Docker 28 alone.
REFUSALS_28 = {"--use-api-socket": "the bind mount of /var/run/docker.sock"}


def options_of(text: str) -> set[str]:
    """Return the options of a ``docker run --help``, or of a command line, by their long names."""
    return set(re.findall(r"(?:^|\s)(--[a-z][a-z0-9-]*)", text))


def _rows(heading: str) -> Iterator[tuple[list[str], list[str]]]:
    """Return the rows of a table of the page: the names in the first column, and the other columns."""
    section = PAGE.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    for line in section.splitlines():
        names, *others = [column.strip() for column in line.strip("|").split("|")]
        if line.startswith("| `"):
            yield re.findall(r"`([^`]+)`", names), others


@cache
def decisions() -> dict[str, str]:
    """Return what the page decides of each option."""
    return {option: others[0] for options, others in _rows("# Every option") for option in options}


def with_verdict(*verdicts: str) -> set[str]:
    """Return the options of which the page says so."""
    return {option for option, verdict in decisions().items() if verdict in verdicts}


@cache
def _allowed() -> re.Pattern[str]:
    places = [place for places, _why in _rows("## What `docker inspect` says otherwise") for place in places]
    return re.compile("|".join(re.escape(place).replace(r"\*", ".+") for place in places))


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Return the leaves of a document, by their place in it. Mounts and what a port is bound to have no order."""
    if place == "Mounts":
        value = {mount["Destination"]: mount for mount in value}
    if place.startswith("NetworkSettings.Ports."):
        value = sorted(value or [], key=str)
    if not isinstance(value, dict) or not value:
        return {place: value}
    return {
        inner: leaf
        for key, each in value.items()
        for inner, leaf in flat(each, f"{place}.{key}" if place else key).items()
    }


def differences(before: dict[str, Any], after: dict[str, Any], kept: Iterable[str] = ()) -> list[str]:
    """Return what two documents of ``docker inspect`` have otherwise, beyond what the page allows.

    :param kept: places that are the same all the same, because somebody asked for what is there.
    """
    was, now = flat(before), flat(after)
    return [
        f"{place}: {was.get(place)!r} -> {now.get(place)!r}"
        for place in sorted(was.keys() | now.keys())
        if (was.get(place) or now.get(place))
        and was.get(place) != now.get(place)
        and (place in kept or not _allowed().fullmatch(place))
    ]
