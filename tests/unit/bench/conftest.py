"""The benches' and the soak tests' own modules are no package: they are found by path."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
for folder in ("bench", "soak"):
    sys.path.append(str(TESTS / folder))
