# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate-request MODULE < request.json``: run one of a few modules as root, for a login that may do nothing else.

The user who moves containers has one line in sudoers for each module that it may run, and no other way to become root. So
this program is a border: what comes in may be a thief's. The modules are the collection's, installed by the role together with
what they import of Ansible. A request is ``{"arguments": {...}, "check_mode": false, "diff": false}``, and the answer is the
module's. Every argument is looked at here before the module sees it, and what is not known here is refused.

What ``/etc/relocate/requests.json`` (the role's, root's) says is believed: ``address`` and ``address6`` are this host's,
``addresses`` are those of the whole fleet, ``repository`` is where images come from.
"""

from __future__ import annotations

import importlib
import ipaddress
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table
from ansible_collections.relocate.mtd.plugins.module_utils._modes import MODES, RECREATE

from .network.nft import Nft
from .network.packet_rules import tables
from .protocol.documents import networks_told

SETTINGS = "/etc/relocate/requests.json"
MODULES = "ansible_collections.relocate.mtd.plugins.modules"
LIMIT = 8 << 20  # bytes of a request: a description of a container has its image's layers and labels
#: Become parts of file names, so no dot and no slash.
RELOCATION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}")
CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}")
IMAGE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_:@-]|[./](?![./])){0,511}")
PORT, BYTES, SECONDS, MILLISECONDS = (1, 65535), (0, 1 << 60), (0, 100_000), (0, 1e12)

Check = Callable[[Any], Any]


class Forbidden(Exception):
    """The request is refused; the text says why."""


def _kind(*types: type) -> Check:
    def check(value: Any) -> Any:
        if (isinstance(value, bool) and bool not in types) or not isinstance(value, types):
            raise Forbidden(f"{value!r:.80} is of the wrong type")
        return value

    return check


def _form(pattern: re.Pattern) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise Forbidden(f"{value!r:.80} has not the form that is asked for")
        return value

    return check


def _one_of(*words: Any) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise Forbidden(f"{value!r:.80} is not one of {', '.join(words)}")
        return value

    return check


def _between(low: float, high: float) -> Check:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise Forbidden(f"{value!r:.80} is no number from {low} to {high}")
        return value

    return check


def _port(value: Any) -> int:
    try:
        number = int(value) if isinstance(value, (int, str)) else 0
    except ValueError:
        number = 0
    return int(_between(*PORT)(number))


def _record(needed: dict[str, Check], known: dict[str, Check] | None = None) -> Check:
    """Return a check of a mapping that has all of the one, perhaps some of the other, and nothing else."""
    every = {**needed, **(known or {})}

    def check(value: Any) -> Any:
        _kind(dict)(value)
        for name in needed:
            if name not in value:
                raise Forbidden(f"there is no {name}")
        found = {}
        for name, each in value.items():
            if name not in every:
                raise Forbidden(f"{name!r:.80} is nothing that can be asked for")
            try:
                found[name] = every[name](each)
            except Forbidden as error:
                raise Forbidden(f"{name}: {error}") from None
        return found

    return check


def _list(check: Check) -> Check:
    return lambda value: [check(each) for each in _kind(list)(value)]


def _mapping(check: Check) -> Check:
    return lambda value: {_text(key): check(each) for key, each in _kind(dict)(value).items()}


def _maybe(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


_text, _flag, _any = _kind(str), _kind(bool), lambda value: value
_image, _container, _relocation = _form(IMAGE), _form(CONTAINER), _form(RELOCATION)
_part, _protocol = _one_of("source", "destination", "edge", "standby"), _one_of("tcp", "udp")
_credentials = _record(dict.fromkeys(("authority", "certificate", "key"), _text))


def _address(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(_text(value)))
    except ValueError:
        raise Forbidden(f"{value!r:.80} is no address") from None


def _as_written(address: str) -> str:
    """Return an address of the inventory as :func:`_address` returns it: one of IPv6 has many forms."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _networks_told(value: Any) -> list[dict]:
    try:
        return networks_told(value)
    except ValueError as error:
        raise Forbidden(str(error)) from None


class Border:
    """The checks of one host.

    :param settings: what the role wrote down. :param services: returns the edge's services, of whatever container.
    """

    def __init__(self, settings: dict, services: Callable[[], list]) -> None:
        self.own: str = settings["address"]
        self.own6 = _as_written(settings.get("address6") or "")
        self.addresses = frozenset(map(_as_written, settings["addresses"])) | {self.own}
        self.repository: str = settings["repository"]
        self._services = services

    def arguments(self, module: str, arguments: Any) -> dict:
        """Return a module's arguments as they may be used. :raises Forbidden: they may not."""
        checks: dict[str, Check] = {
            "relocation_info": _record({}, {"register_fact": _flag}),
            "relocation_preflight": self._preflight,
            "relocation_session": self._session,
            "nat_service_info": _record({}, {"name": _text}),
            "service_fence": _record({"state": _one_of("listed")}),
            "nat_service": self._service,
            "tenant_container_info": _record({}, {"name": _text, "movable": _flag}),
            "tenant_container": self._tenant,
        }
        if module not in checks:
            raise Forbidden(f"{module!r:.80} is no module that can be asked for")
        return checks[module](arguments)

    def _fleet(self, value: Any) -> str:
        """Return an address of the fleet."""
        if _address(value) not in self.addresses:
            raise Forbidden(f"{value} is no address of the fleet (prepare.yml writes down which ones are)")
        return str(value)

    def _preflight(self, arguments: Any) -> dict:
        checked: dict = _record({"name": _text, "container": _kind(dict), "source": _kind(dict)})(arguments)
        _container(checked["container"].get("name"))
        _image(checked["container"].get("image"))
        return checked

    def _session(self, arguments: Any) -> dict:
        known: dict[str, Check] = {
            "part": _part,
            "specification": _text,
            "verdict": _one_of("commit", "roll-back", "serve", "look"),
            "gone": _text,
            "decided": _flag,
            "ran": _flag,
            "timeout": _between(*SECONDS),
        }
        state = _one_of("started", "finished", "recovered")
        checked: dict = _record({"state": state, "relocation": _relocation}, known)(arguments)
        if "specification" in checked:
            try:
                specification = json.loads(checked["specification"])
            except (ValueError, RecursionError):
                raise Forbidden("the specification is no JSON") from None
            of_part = {"edge": self._edge, "standby": self._standby}.get(str(checked.get("part")), self._listening)
            specification = of_part(specification)
            if specification["id"] != checked["relocation"]:
                raise Forbidden("the specification is another relocation's")
            checked["specification"] = json.dumps(specification)
        return checked

    def _listening(self, specification: Any) -> dict:
        """Return what the source or the destination is told: it listens here, and hears hosts of the fleet alone."""
        if "recording" in _kind(dict)(specification):
            raise Forbidden("snapshots are the operator's: this login may not read the memory of a container")
        needed: dict[str, Check] = {"id": _relocation, "credentials": _credentials, "listen": self._fleet}
        known: dict[str, Check] = {
            "container": _container,
            "mode": _one_of(*MODES, RECREATE),
            "memory_bytes": _between(*BYTES),
            "together": _record({"addresses": _list(_address)}),
            "kept_addresses": _list(_address),
            "networks": _networks_told,
            "listen6": _address,
        }
        checked: dict = _record(needed, known)(specification)
        return self._bound(checked)

    def _bound(self, checked: dict) -> dict:
        for name, own in (("listen", self.own), ("listen6", self.own6)):
            if checked.get(name, own) != own:
                raise Forbidden(f"{checked[name]} is not the address of this host, {own or 'which has none of IPv6'}")
        return {**checked, "peers": sorted(self.addresses)}

    def _standby(self, specification: Any) -> dict:
        """Return what the other edge is told: the same as the edge, and it listens for that one."""
        listen = _kind(dict)(specification).get("listen")
        rest = {name: value for name, value in specification.items() if name != "listen"}
        return self._bound({**self._edge(rest), "listen": self._fleet(listen)})

    def _edge(self, specification: Any) -> dict:
        """Return what the edge is told: it connects to the fleet, and moves what it publishes of this container.

        Of a project, it is told so of each of its members.
        """
        if "members" in _kind(dict)(specification):
            together = {"id": _relocation, "project": _container, "members": _list(self._edge)}
            told: dict = _record(together)(specification)
            return told
        needed: dict[str, Check] = {"id": _relocation, "credentials": _credentials, "plan": self._plan}
        needed |= {"source": self._place, "destination": self._place}
        checked: dict = _record(needed, {"standby": self._place})(specification)
        for part in ("source", "destination", *(["standby"] if "standby" in checked else [])):
            if checked[part][0] != checked["plan"].get(part, {}).get("address"):
                raise Forbidden(f"the {part} is not where the plan has it")
        return checked

    def _place(self, value: Any) -> list:
        if not isinstance(value, list) or len(value) != 2:
            raise Forbidden(f"{value!r:.80} is no pair of address and port")
        return [self._fleet(value[0]), _port(value[1])]

    def _plan(self, plan: Any) -> dict:
        """Return the plan: what the edge acts on is checked, and the rest only comes back in the result."""
        _kind(dict)(plan)
        end = _record({"host": _text, "address": self._fleet}, {"address6": self._fleet})
        place: dict[str, Check] = {"protocol": _protocol, "virtual_address": _address, "virtual_port": _port}
        service = _record({**place, "host_port": _port, "container_port": _port})
        needed: dict[str, Check] = {
            "id": _relocation,
            "container": _container,
            "mode": _one_of(*MODES, RECREATE),
            "source": end,
            "destination": end,
            "services": _list(service),
            "memory_bytes": _between(*BYTES),
            "dump_seconds": _between(*SECONDS),
            "downtime_limit_ms": _between(*MILLISECONDS),
            "predictions": _mapping(_between(*MILLISECONDS)),
            "cost": _mapping(lambda value: value if isinstance(value, bool) else _between(*MILLISECONDS)(value)),
        }
        other = _record({"host": _text, "address": self._fleet, "gateway": _address})
        known = {**dict.fromkeys(set(plan) - set(needed), _any), "standby": other, "drain_limit_s": _between(*SECONDS)}
        checked: dict = _record(needed, known)(plan)
        published = {
            (each.protocol, each.virtual_address, each.virtual_port, each.host_port)
            for each in (self._services() if checked["services"] else ())
            if each.name == checked["container"]
        }
        for each in checked["services"]:
            if (each["protocol"], each["virtual_address"], each["virtual_port"], each["host_port"]) not in published:
                raise Forbidden(f"the edge has no such service of {checked['container']}: {each}")
        return checked

    def _service(self, arguments: Any) -> dict:
        place: dict[str, Check] = {"virtual_address": _address, "virtual_port": _port}
        known: dict[str, Check] = {"protocol": _protocol, "host_port": _port, "state": _one_of("present")}
        checked: dict = _record({"name": _container, **place, "host_address": self._fleet}, known)(arguments)
        return checked

    def _tenant(self, arguments: Any) -> dict:
        known: dict[str, Check] = {
            "command": _any,  # the container's own
            "environment": _mapping(_any),
            "labels": _mapping(_any),
            "tenant": _text,
            "sensitive": _any,
            "post_copy": _any,
            "published": _list(
                _record(
                    {"container_port": _port}, {"host_port": _port, "protocol": _protocol, "host_address": _address}
                )
            ),
            "restart_policy": _text,
            "state": _one_of("started", "present"),
        }
        checked: dict = _record({"name": _container, "image": _image}, known)(arguments)
        if not checked["image"].startswith(f"{self.repository}/"):
            raise Forbidden(f"the image {checked['image']} is not from the fleet's repository {self.repository}")
        return checked


def _published() -> list:
    """Return what the edge's table on this host has."""
    return _edge_table.services({"nftables": tables(Nft())})


def _run(module: str, arguments: dict, check_mode: bool, diff: bool) -> None:
    """Run the module in this process. It prints its answer and ends the process."""
    from ansible.module_utils import basic

    # what Ansible itself would add, all of it ours: a caller may not choose a shell or a directory
    internal = {
        "check_mode": check_mode,
        "diff": diff,
        "module_name": f"relocate.mtd.{module}",
        "no_log": False,
        "debug": False,
        "verbosity": 0,
        "keep_remote_files": False,
        "remote_tmp": "/run/relocate/tmp",
        "shell_executable": "/bin/sh",
        "syslog_facility": "LOG_USER",
    }
    everything = {**arguments, **{f"_ansible_{name}": value for name, value in internal.items()}}
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": everything}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    importlib.import_module(f"{MODULES}.{module}").main()


def main() -> None:
    """Entry point."""
    try:
        if len(sys.argv) != 2:
            raise Forbidden("usage: relocate-request MODULE < request.json")
        try:
            with open(SETTINGS, encoding="utf-8") as file:
                border = Border(json.load(file), _published)
            text = sys.stdin.buffer.read(LIMIT + 1)
            request = json.loads(text) if len(text) <= LIMIT else None
        except (OSError, ValueError, RecursionError, KeyError) as error:
            raise Forbidden(f"the request cannot be read ({error}): run prepare.yml again") from None
        checked = _record({"arguments": _any}, {"check_mode": _flag, "diff": _flag})(request)
        arguments = border.arguments(sys.argv[1], checked["arguments"])
    except Forbidden as error:
        print(json.dumps({"failed": True, "changed": False, "msg": f"refused: {error}"}))
        sys.exit(1)
    _run(sys.argv[1], arguments, checked.get("check_mode", False), checked.get("diff", False))


if __name__ == "__main__":
    main()
