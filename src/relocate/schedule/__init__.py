"""The scheduler: one clock for each container, and what it takes to act on it for years.

``service`` holds the threads, ``engine`` decides without any, ``store`` remembers, ``launchers`` carry out. It may import
``move``, ``lab`` and the mathematics of ``model.laws``. Invariant: an intent is written before it is launched, by the lease's
holder only.
"""
