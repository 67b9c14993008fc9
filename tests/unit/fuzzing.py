# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long hypothesis looks, and what it may cost: some examples at every run, many if ``RELOCATE_FUZZ=long`` asks for them."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

T = TypeVar("T")

PROFILE = os.environ.get("RELOCATE_FUZZ", "ci")
CPU_SECONDS, MEMORY = 2.0, 64 << 20
_COMMON: dict[str, Any] = {
    "deadline": None,  # the machine may be busy: see bounded
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    "print_blob": True,  # what reproduces a failure
}

#: In CI it is the code alone that decides how a run ends: the same examples for the same test. Elsewhere each run has others,
#: and what one finds is a fault, whoever has made it.
_SEED = {"derandomize": os.environ.get("CI", "") not in ("", "0", "false")}

#: Of each test that says nothing else: ``conftest.py`` loads it.
settings.register_profile("relocate", **_COMMON, **_SEED)
settings.register_profile(
    "ci", max_examples=40, phases=[Phase.explicit, Phase.generate, Phase.shrink], **_COMMON, **_SEED
)
settings.register_profile("long", max_examples=1_000, derandomize=False, **_COMMON)


@contextmanager
def bounded(given: int = 0) -> Iterator[None]:
    """Fail if what is done inside takes long, or much memory, for ``given`` bytes of input."""
    began = time.thread_time()
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    took = time.thread_time() - began
    assert took < CPU_SECONDS, f"{took:.1f} s for {given} bytes"
    assert peak < MEMORY + 64 * given, f"{peak >> 20} MiB for {given} bytes"


#: Decorates a test that hypothesis gives examples.
fuzzed = settings(settings.get_profile(PROFILE))
#: The same for a test with many parameters.
fuzzed_each = settings(fuzzed, max_examples=max(fuzzed.max_examples // 5, 5))

#: Any JSON, the odd kinds of it among them.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 2**31, 2**63, 2**64, 10**400, -(10**400)])
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["", "\0", "\n", "../x", "/etc/passwd", "\ud800", "\udcff", "x" * 70_000, "{{ 1 }}", "%s", "1.2.3.4"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def outcome(parse: Callable[[Any], T], given: Any, *errors: type[Exception]) -> T | None:
    """Return what a parser makes of something; None if it refuses it with one of its own errors, in one sentence.

    Whatever else it raises is a failure, and so is time or memory beyond all measure.
    """
    size = len(given) if isinstance(given, (bytes, str)) else 0
    with bounded(size):
        try:
            return parse(given)
        except errors as error:
            said = str(error)
            assert said and said.isprintable() and len(said) < 5000, said[:200]
            return None
