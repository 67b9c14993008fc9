# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The charts: drawn from any document, also from one with holes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cutover import chart
from cutover.pipeline import Sample
from cutover.summary import Cell

RUNS = [
    Cell("docker", 8, [Sample(1600, 1200)]).document(),
    Cell("post-copy", 8, [Sample(110, 105, {"freeze": 1, "dump": 50, "restore": 40})]).document(),
    Cell("pre-copy", 8, skipped="no dirty tracking").document(),
    Cell("post-copy", 1024, [Sample(190, 180, {"dump": 90, "transfer": 100})]).document(),
]


def test_both_charts_are_written_in_both_formats(tmp_path: Path) -> None:
    for draw, name in ((chart.phases, "phases"), (chart.gaps, "gaps")):
        written = draw(RUNS, tmp_path / name)
        assert [path.suffix for path in written] == [".png", ".svg"]
        assert written[0].read_bytes().startswith(b"\x89PNG")
        svg = written[1].read_text()
        assert "post-copy" in svg
        assert "1 GiB" in svg


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert chart.phases(RUNS[:1], tmp_path / "phases") == []
    assert chart.gaps([RUNS[2]], tmp_path / "gaps") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mib", "said"), [(8, "8 MiB"), (1024, "1 GiB"), (1536, "1536 MiB")])
def test_sizes_are_said_as_people_say_them(mib: int, said: str) -> None:
    assert chart.size(mib) == said
