# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is counted, how it is served, and that nothing of it predicts."""

from __future__ import annotations

import math
import random
import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relocate.errors import Refusal
from relocate.schedule.metrics import Metrics, entropy_bits

COMMITTED = {"outcome": "committed", "container": "web", "downtime_ms": 80.0, "exposure_latency_ms": 4000.0}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a sample."""
    return metrics.registry.get_sample_value(name, labels)


def test_hops_are_counted_by_outcome() -> None:
    """With every outcome there from the start, and no downtime for what was not committed."""
    metrics = Metrics()
    assert value(metrics, "relocate_hops_total", outcome="rolled-back") == 0
    metrics.hop(COMMITTED)
    metrics.hop({"outcome": "rolled-back", "downtime_ms": 50.0, "exposure_latency_ms": None})
    metrics.hop({"outcome": "something new"})
    assert value(metrics, "relocate_hops_total", outcome="committed") == 1
    assert value(metrics, "relocate_hops_total", outcome="rolled-back") == 1
    assert value(metrics, "relocate_hops_total", outcome="failed") == 1
    assert value(metrics, "relocate_downtime_seconds_count") == 1
    assert value(metrics, "relocate_downtime_seconds_sum") == pytest.approx(0.08)
    assert value(metrics, "relocate_exposure_latency_seconds_sum") == pytest.approx(4.0)


def test_the_rest_is_counted() -> None:
    """Failures by host, what is under way, how late it was launched."""
    metrics = Metrics()
    metrics.failure("host1")
    metrics.in_flight(3)
    metrics.lag(0.004)
    metrics.lag(-0.001)  # two clocks read a moment apart
    assert value(metrics, "relocate_host_failures_total", host="host1") == 1
    assert value(metrics, "relocate_in_flight") == 3
    assert value(metrics, "relocate_firing_lag_seconds_count") == 2
    assert value(metrics, "relocate_firing_lag_seconds_sum") == pytest.approx(0.004)


def test_nothing_is_said_of_single_containers_or_of_what_is_to_come() -> None:
    """Neither as a label nor as a name."""
    metrics = Metrics()
    metrics.hop(COMMITTED)
    for family in metrics.registry.collect():
        assert not any(word in family.name for word in ("next", "due", "remaining", "clock", "until")), family.name
        for sample in family.samples:
            assert "web" not in sample.labels.values() and "container" not in sample.labels


def test_entropy_of_known_laws() -> None:
    """Exp of mean 100 s has log2(100 e) = 8.09 bits, uniform on 64 s has 6, one stay over and over has none."""
    generator = random.Random(1)
    exponential = [generator.expovariate(0.01) for _ in range(1000)]
    assert entropy_bits(exponential) == pytest.approx(math.log2(100 * math.e), abs=0.25)
    assert entropy_bits([generator.uniform(0, 64) for _ in range(1000)]) == pytest.approx(6.0, abs=0.25)
    assert entropy_bits([30.0] * 100) == 0.0
    assert math.isnan(entropy_bits([1.0] * 9))


def test_the_gauge_follows_the_stays() -> None:
    """Estimated when it is read."""
    metrics = Metrics()
    before = value(metrics, "relocate_stay_entropy_bits")
    assert before is not None and math.isnan(before)
    for seconds in range(1, 65):
        metrics.stay(float(seconds))
    assert value(metrics, "relocate_stay_entropy_bits") == pytest.approx(6.0, abs=0.5)


def test_it_is_served_and_can_be_read() -> None:
    """In the text format, on the address asked for only."""
    metrics = Metrics()
    metrics.hop(COMMITTED)
    served = metrics.serve("127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics", timeout=60) as answer:
            names = {family.name for family in text_string_to_metric_families(answer.read().decode())}
    finally:
        served.close()
    assert {"relocate_hops", "relocate_downtime_seconds", "relocate_in_flight", "relocate_scheduler_info"} <= names


def test_an_address_in_use_is_named() -> None:
    """With the setting that changes it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refusal, match=rf"cannot be served at 127\.0\.0\.1:{port}.*set metrics\.listen"):
            Metrics().serve("127.0.0.1", port)
