# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of an inventory, the options of roles, and what a playbook is asked for: the form of each.

Roles check types, and a text is any text; and a host's variable is looked at only where it is used, when other hosts have been
changed. So all of them are looked at before: the filter C(odd_variables), in the first play of every playbook. A number may
come as text (C(-e), an INI inventory).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import BOOLEANS
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Form, Wrong, quoted, sentence
from ansible_collections.relocate.mtd.plugins.module_utils._modes import ASKABLE, ASKABLE_STRATEGIES, PREFERENCES
from jinja2 import Undefined

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PLACE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?:[0-9]{1,5}")
_KEY = re.compile(r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/=]{1,16000}(?: [^\x00-\x1f\x7f]{0,256})?")
_WORD = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.+:-]{0,127}")


def _truth(value: Any) -> Any:
    """Form of what Ansible takes for true or false."""
    if not isinstance(value, (bool, int, str)) or (value.lower() if isinstance(value, str) else value) not in BOOLEANS:
        raise Wrong("is neither true nor false")
    return value


def _whole(low: int, high: int) -> Form:
    """Return the form of a whole number, perhaps as text."""
    form = _forms.whole(low, high)
    return lambda value: form(int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value) else value)


def _number(low: float, high: float) -> Form:
    """Return the form of a number, perhaps as text."""
    form = _forms.number(low, high)

    def check(value: Any) -> Any:
        return form(
            float(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", value) else value
        )

    return check


def _or_empty(form: Form) -> Form:
    return lambda value: value if value in ("", None) else form(value)


def _place(value: Any) -> Any:
    """Form of a machine and its port."""
    if not isinstance(value, str) or not _PLACE.fullmatch(value) or not 0 < int(value.rpartition(":")[2]) < 65536:
        raise Wrong("is no place such as 192.0.2.10:5000")
    return value


def _file(value: Any) -> Any:
    """Form of a path on the controller: absolute, from the home directory, or from where the command was given."""
    if not isinstance(value, str) or not value or not value.isprintable() or len(value.encode()) > _forms.PATH_BYTES:
        raise Wrong("is no path of a file")
    return value


def _list_of(form: Form) -> Form:
    """Return the form of a list, which Ansible takes as one text with commas as well."""
    inner = _forms.each(form)
    return lambda value: inner(value.split(",") if isinstance(value, str) else value)


def _packages(value: Any) -> Any:
    """Form of a mapping from commands or modules to the packages that have them."""
    return _forms.mapping(_word, lambda inner: _words(inner) if isinstance(inner, list) else _word(inner))(value)


def _tenants(value: Any) -> Any:
    return _forms.mapping(_forms.container_name, _forms.record({}, {"packages": _words}))(_forms.document(value))


_word = _forms.formed(_WORD, "word of letters, digits, '_', '.', '+', ':' and '-'")
_words = _forms.each(_word)
_user = _or_empty(_forms.formed(_USER, "user's name", 32))
_keys = _forms.each(_forms.formed(_KEY, "public key, as ssh-keygen writes it: 'ssh-ed25519 AAAA... comment'", 20_000))
_modules = _forms.each(_word)
_addresses = _forms.each(_forms.address)
_state = _forms.one_of("present", "absent")
_index = _whole(0, 1 << 22)
_prefix = _whole(8, 30)
_binds = _forms.record({}, dict.fromkeys(("same", "shared"), _forms.maybe(_forms.each(_forms.path))), more=False)
_interface = _forms.interface_name
_scores = _forms.maybe(_forms.record(dict.fromkeys("cns", _number(-1e12, 1e12)), more=False))


def _line(value: Any) -> Any:
    """Return a text of one line, or a number, true or false. :raises Wrong: it is none."""
    return _forms.remark(value) if isinstance(value, str) else _forms.scalar(value)


_setting = _forms.formed(re.compile(r"[A-Za-z0-9_. -]{1,200}"), "value of a kernel setting")
_sysctls = _forms.mapping(_word, lambda value: _setting(value if isinstance(value, str) else str(_forms.scalar(value))))

#: Of the inventory.
INVENTORY: dict[str, Form] = {
    "relocate_host_index": _index,
    "relocate_fabric_address": _forms.address,
    "relocate_fabric_address6": _or_empty(_forms.address6),
    "relocate_fabric_network": _forms.network,
    "relocate_fabric_network6": _or_empty(_forms.network6),
    "relocate_docker0_supernet": _forms.network,
    "relocate_docker0_prefix": _prefix,
    "relocate_repository": _place,
    "relocate_repository_insecure": _truth,
    "relocate_edge_outside_interface": _interface,
    "relocate_edge_inside_interface": _or_empty(_interface),
    "relocate_edge_egress_address": _forms.address,
    "relocate_edge_egress_address6": _or_empty(_forms.address6),
    "relocate_edge_gateway_address": _or_empty(_forms.with_prefix),
    "relocate_edge_gateway_address6": _or_empty(_forms.with_prefix6),
    "relocate_virtual_addresses": _forms.each(_forms.either_with_prefix),
    "relocate_downtime_limit_ms": _number(0.001, 1e9),
    "relocate_prefer": _forms.one_of(*PREFERENCES),
    "relocate_strategy": _forms.one_of(*ASKABLE_STRATEGIES),
    "relocate_drain_limit_s": _number(0, 86400),
    "relocate_with_project": _truth,
    "relocate_policy": _forms.settings,
    "relocate_binds": _forms.maybe(_binds),
    "relocate_user": _user,
    "relocate_user_keys": _keys,
    "relocate_user_key_file": _file,
    "relocate_user_instantiates": _truth,
    "relocate_as_operator": _truth,
    "relocate_rack": _forms.remark,
    "relocate_switch": _forms.remark,
    "relocate_scores": _scores,
    "relocate_fleet_group": _word,
    "relocate_snapshot_store": _or_empty(_file),
    "relocate_snapshot_key": _or_empty(_file),
    "relocate_snapshot_keep": _whole(1, 100_000),
    "relocate_snapshot_days": _number(0.001, 100_000),
}
#: Of the roles; with their defaults they come from those above.
ROLES: dict[str, Form] = {
    "docker_host_state": _state,
    "docker_host_install_packages": _truth,
    "docker_host_commands": _packages,
    "docker_host_python_modules": _packages,
    "docker_host_docker0_supernet": _forms.network,
    "docker_host_docker0_prefix": _prefix,
    "docker_host_ipv6": _truth,
    "docker_host_index": _index,
    "docker_host_binds": _forms.maybe(_binds),
    "docker_host_repository": _place,
    "docker_host_repository_insecure": _truth,
    "docker_host_user": _user,
    "docker_host_user_keys": _keys,
    "docker_host_user_modules": _modules,
    "docker_host_fleet_addresses": _addresses,
    "edge_state": _state,
    "edge_install_packages": _truth,
    "edge_commands": _packages,
    "edge_pair_commands": _packages,
    "edge_members": _forms.each(_forms.host_name),
    "edge_inside_interface": _or_empty(_interface),
    "edge_inside_address": _forms.address,
    "edge_gateway_address": _or_empty(_forms.with_prefix),
    "edge_gateway_address6": _or_empty(_forms.with_prefix6),
    "edge_router_id": _whole(1, 255),
    "edge_advert_seconds": _number(0.01, 40),
    "edge_sync_port": _whole(1, 65535),
    "edge_outside_interface": _interface,
    "edge_virtual_addresses": _forms.each(_forms.either_with_prefix),
    "edge_fleet_network": _forms.network,
    "edge_egress_address": _forms.address,
    "edge_fleet_network6": _or_empty(_forms.network6),
    "edge_egress_address6": _or_empty(_forms.address6),
    "edge_sysctls": _sysctls,
    "edge_user": _user,
    "edge_user_keys": _keys,
    "edge_user_modules": _modules,
    "edge_fleet_addresses": _addresses,
    "host_packages_install": _truth,
    "host_packages_commands": _packages,
    "host_packages_modules": _packages,
    "image_repository_install_packages": _truth,
    "image_repository_commands": _packages,
    "image_repository_listen": _place,
    "image_repository_storage": _forms.path,
    "lab_state": _forms.one_of("present", "absent", "purged"),
    "lab_name": _or_empty(_forms.formed(re.compile(r"[a-z0-9][a-z0-9-]{0,31}"), "name of a lab")),
    "lab_state_dir": _forms.path,
    "lab_cache_dir": _forms.path,
    "lab_hosts": _whole(1, 200),
    "lab_edges": _whole(1, 2),
    "lab_suites": _words,
    "lab_edge_suite": _word,
    "lab_fabric_bridge": _interface,
    "lab_fabric_subnet": _forms.network,
    "lab_fabric_subnet6": _forms.network6,
    "lab_fabric_first_host": _whole(1, 1 << 16),
    "lab_outside_bridge": _interface,
    "lab_outside_subnet": _forms.network,
    "lab_outside_subnet6": _forms.network6,
    "lab_ready_timeout": _whole(1, 100_000),
    "lab_mirror": _or_empty(_forms.formed(re.compile(r"[!-~]+"), "address of an archive", 1000)),
    "lab_keyring": _or_empty(_forms.path),
    "lab_commands": _packages,
    "lab_packages": _words,
    "lab_borrowed_packages": _words,
    "lab_borrowed_suite": _word,
    "lab_tenants": _tenants,
    "proxy_program_state": _state,
    "proxy_program_restores": _truth,
    "proxy_program_collection": _file,
    "proxy_program_cache": _file,
    "proxy_program_machine": _word,
    "restricted_login_user": _user,
    "restricted_login_home": _forms.path,
    "restricted_login_keys": _keys,
    "restricted_login_modules": _modules,
    "restricted_login_install_packages": _truth,
    "restricted_login_address": _or_empty(_forms.address),
    "restricted_login_address6": _or_empty(_forms.address6),
    "restricted_login_addresses": _addresses,
    "restricted_login_repository": _or_empty(_place),
    "restricted_login_sudoers_file": _forms.path,
    "restricted_login_collection": _file,
    "scheduler_state": _state,
    "scheduler_project": _forms.path,
    "scheduler_install": _truth,
    "scheduler_environment_directory": _forms.path,
    "scheduler_command": _forms.path,
    "scheduler_python": _forms.path,
    "scheduler_packages": _forms.each(_file),
    "scheduler_user": _forms.formed(_USER, "user's name", 32),
    "scheduler_home": _forms.path,
    "scheduler_configuration": _forms.settings,
    "scheduler_inventory": _file,
    "scheduler_metrics_listen": _or_empty(_place),
    "scheduler_environment": _forms.mapping(
        _forms.formed(re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "name of an environment variable"),
        _line,
    ),
    "scheduler_sudo": _truth,
    "scheduler_enabled": _truth,
    "scheduler_purge": _truth,
}
#: Of one run: what a playbook is asked for. Their names are anybody's, so they are looked at only where they mean this.
REQUEST: dict[str, Form] = {
    **dict.fromkeys(("container", "project"), _or_empty(_forms.container_name)),
    "name": _or_empty(_forms.container_name),
    **dict.fromkeys(("destination", "source", "host"), _or_empty(_forms.host_name)),
    "mode": _or_empty(_forms.one_of(*ASKABLE)),
    "reason": _or_empty(_forms.remark),
    "relocation_id": _or_empty(_forms.relocation_id),
    "relocation_alert": _or_empty(_forms.settings),
    "snapshot": _or_empty(_forms.relocation_id),
    "dead": _or_empty(_list_of(_forms.host_name)),
    **dict.fromkeys(("verify", "dump"), _truth),
    "gone": _list_of(_forms.host_name),
    "relocations": _list_of(_forms.relocation_id),
    "cordoned": _truth,
    "image": _or_empty(_forms.image_name),
    "publish": _or_empty(
        _forms.formed(re.compile(r"[0-9a-z.:/, ]+"), "list of ADDRESS:PORT:[HOST_PORT:]PORT[/tcp|udp]", 4000)
    ),
    "command": lambda value: _forms.free(value) if isinstance(value, str) else _forms.each(_forms.scalar)(value),
    "tenant": _or_empty(_forms.remark),
    "sensitive": _truth,
    "post_copy": _truth,
}


def _read(value: Any) -> Any:
    """Return a variable all of whose templates have been resolved. :raises Exception: one could not be; of any kind."""
    waiting = [value]
    for _ in range(_forms.VALUES):
        if not waiting:
            break
        inner = waiting.pop()
        if isinstance(inner, Undefined):
            str(inner)  # raises why
        waiting += inner.values() if isinstance(inner, Mapping) else inner if isinstance(inner, list) else ()
    return value


def problems(host: str, variables: Mapping[str, Any], forms: Mapping[str, Form]) -> Iterator[str]:
    """Yield a sentence for every variable of a host that has not its form.

    :param variables: values are asked for only where a name is known: reading them may take a template.
    """
    for name, form in forms.items():
        if name not in variables:
            continue
        try:
            value = _read(variables[name])
        except Exception as error:  # a template's, of any kind
            yield sentence(f"{name} of {host} cannot be read: {error}")
            continue
        try:
            form(value)
        except Wrong as wrong:
            yield sentence(f"{name} of {host}: {quoted(value)} {wrong}")


def odd_name(host: str) -> str | None:
    """Return why the inventory may not have a host of this name, or None if it may."""
    try:
        _forms.host_name(host)
    except Wrong:
        return f"the inventory's host {quoted(host)}: a name has letters, digits, '_', '.', ':' and '-'"
    return None
