"""The simulator: its file (``spec``), its trials, where a container goes, the exact values beside it, the paper's figures.

It may import ``laws``. ``exact`` is here, not there, because it answers for a simulation file. Invariants: every draw comes
from the file's seed, and an estimate always comes with its interval.
"""
