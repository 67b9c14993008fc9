# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the scheduler's store. No column holds anything that is still to come."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

#: Raised with every change of a table; a store of another version is refused.
VERSION = 1

metadata = MetaData()

version = Table("relocate_version", metadata, Column("number", Integer, primary_key=True))

#: One row for each fleet. ``token`` grows with every change of the holder, ``beat`` with every sign of life.
lease = Table(
    "relocate_lease",
    metadata,
    Column("fleet", String(64), primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("alive_at", Float(53), nullable=False),
)

#: Every alert of a clock and what became of it. ``state``: waiting (for a limit), launched (intent or under way), ended.
firing = Table(
    "relocate_firing",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("fleet", String(64), nullable=False),
    Column("container", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("destination", Text),
    Column("reason", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("alerted_at", Float(53), nullable=False),
    Column("launched_at", Float(53)),
    Column("ended_at", Float(53)),
    Column("stay_ms", Float(53)),
    Column("drawn_ms", Float(53)),
    Column("clamp", String(32), nullable=False),
    Column("clock", Text),
    Column("outcome", String(32)),
    Column("exposure_latency_ms", Float(53)),
    Column("downtime_ms", Float(53)),
    Column("msg", Text),
    Index("relocate_firing_container", "fleet", "container", "alerted_at"),
    Index("relocate_firing_state", "fleet", "state"),
    Index("relocate_firing_time", "fleet", "alerted_at"),
)

#: The tenants as they were last seen.
tenant = Table(
    "relocate_tenant",
    metadata,
    Column("fleet", String(64), primary_key=True),
    Column("container", String(255), primary_key=True),
    Column("host", Text, nullable=False),
    Column("since", Float(53), nullable=False),
    Column("seen_at", Float(53), nullable=False),
    Column("labels", Text, nullable=False),
    Column("clock", Text, nullable=False),
    Column("problem", Text),
)

#: What an operator has paused. ``scope``: all, host, container; ``name`` is empty for all.
pause = Table(
    "relocate_pause",
    metadata,
    Column("fleet", String(64), primary_key=True),
    Column("scope", String(16), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("drain", Boolean, nullable=False),
    Column("since", Float(53), nullable=False),
    Column("why", Text),
)
