"""The demonstration: tenants in the lab, clients that never stop asking, and moves under their feet.

It may import ``schedule``. Invariant: ``client`` is a program of its own and imports the standard library only.
"""
