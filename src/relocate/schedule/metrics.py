# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus may know of the scheduler: its past. Nothing here tells when a container moves next.

There is no due time, no state of a clock, and no series for a single container: from the time of a container's last hop and the
law of its clock one could tell how much longer it will stay, better than from the law alone.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    start_http_server,
)

from relocate import __version__
from relocate.errors import Refusal
from relocate.schedule.launchers.base import OUTCOMES

DOWNTIMES = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)  # seconds
LATENCIES = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 30, 60, 120, 300)
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30)
REMEMBERED = 1000  # stays that the entropy is estimated from
RESOLUTION = 1.0  # seconds: an attacker who knows a stay to the second knows it


def entropy_bits(stays: Sequence[float]) -> float:
    """Return an estimate of the entropy of a stay in bits, at a resolution of a second; NaN for fewer than 10 stays.

    Vasicek's spacing estimate (JRSS B 38, 1976) of the differential entropy. 0 for stays that are all alike.
    """
    n = len(stays)
    if n < 10:
        return math.nan
    ordered = sorted(stays)
    m = max(1, round(math.sqrt(n)))
    total = 0.0
    for i in range(n):
        spacing = ordered[min(i + m, n - 1)] - ordered[max(i - m, 0)]
        # never finer than the resolution: ties would have an entropy of minus infinity
        total += math.log2(max(n * spacing / (2 * m), RESOLUTION))
    return total / n


class Served:
    """A running endpoint."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Metrics:
    """The scheduler's counters, in a registry of their own. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("relocate_scheduler", "The scheduler's version.", registry=self.registry).info({"version": __version__})
        self._hops = Counter("relocate_hops", "Relocations by their outcome.", ["outcome"], registry=self.registry)
        for outcome in OUTCOMES:  # a rate over a series that appears with its first event misses that event
            self._hops.labels(outcome)
        self._downtime = Histogram(
            "relocate_downtime_seconds",
            "How long a container's traffic stood still, of committed relocations.",
            buckets=DOWNTIMES,
            registry=self.registry,
        )
        self._latency = Histogram(
            "relocate_exposure_latency_seconds",
            "From the clock's alert to the freeze: how much longer than drawn the container stayed beside its neighbours.",
            buckets=LATENCIES,
            registry=self.registry,
        )
        self._failures = Counter(
            "relocate_host_failures",
            "Failed relocations by the host they were to leave.",
            ["host"],
            registry=self.registry,
        )
        self._in_flight = Gauge("relocate_in_flight", "Relocations under way.", registry=self.registry)
        self._lag = Histogram(
            "relocate_firing_lag_seconds",
            "From the moment a clock ran out until the launcher was called.",
            buckets=LAGS,
            registry=self.registry,
        )
        self._entropy = Gauge(
            "relocate_stay_entropy_bits",
            f"Estimated entropy of the last {REMEMBERED} stays, to the second: what knowing the law leaves to guess.",
            registry=self.registry,
        )
        self._entropy.set_function(self._estimate)
        self._snapshots = Counter("relocate_snapshots", "Snapshots by outcome.", ["outcome"], registry=self.registry)
        self._fates = Counter(
            "relocate_lost_host_containers",
            "Containers whose host was lost, by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        for counter, outcomes in ((self._snapshots, ("made", "failed")), (self._fates, ("restored", "lost"))):
            for outcome in outcomes:
                counter.labels(outcome)
        self._lost = Gauge("relocate_lost_hosts", "Hosts that count as lost now.", registry=self.registry)
        self._stays: deque[float] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()

    def hop(self, result: Mapping[str, Any]) -> None:
        """Count a relocation by its result document."""
        outcome = result.get("outcome")
        self._hops.labels(outcome if outcome in OUTCOMES else "failed").inc()
        if outcome == "committed" and (downtime := _milliseconds(result, "downtime_ms")) is not None:
            self._downtime.observe(downtime / 1000)
        if (latency := _milliseconds(result, "exposure_latency_ms")) is not None:
            self._latency.observe(latency / 1000)

    def failure(self, host: str) -> None:
        """Count a failed relocation away from ``host``."""
        self._failures.labels(host).inc()

    def in_flight(self, number: int) -> None:
        """Set how many relocations are under way."""
        self._in_flight.set(number)

    def snapshot(self, outcome: str) -> None:
        """Count a snapshot that was ``made``, or has ``failed``."""
        self._snapshots.labels(outcome).inc()

    def fate(self, outcome: str) -> None:
        """Count a container whose host was lost: ``restored``, or ``lost`` with it."""
        self._fates.labels(outcome).inc()

    def lost_hosts(self, number: int) -> None:
        """Set how many hosts count as lost."""
        self._lost.set(number)

    def lag(self, seconds: float) -> None:
        """Note how late a move was launched."""
        self._lag.observe(max(seconds, 0.0))

    def stay(self, seconds: float) -> None:
        """Note a stay that has ended."""
        with self._lock:
            self._stays.append(seconds)

    def serve(self, host: str, port: int) -> Served:
        """Serve ``/metrics`` until closed. Raises Refusal where the address cannot be had."""
        try:
            return Served(*start_http_server(port, host, self.registry))
        except (OSError, OverflowError) as error:
            raise Refusal(
                f"the metrics cannot be served at {host}:{port}: {error}; set metrics.listen to another address"
            ) from None

    def _estimate(self) -> float:
        with self._lock:
            stays = list(self._stays)
        return entropy_bits(stays)


def _milliseconds(result: Mapping[str, Any], name: str) -> float | None:
    """Return a duration of the document; None for one that is missing, or is none."""
    value = result.get(name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if known and value is not None else None
