"""Pictures of the model's results; the only package that loads matplotlib, so it is imported where a plot is asked for.

It may import all other packages of ``model``. Invariant: a plot shows numbers that were computed before; it computes curves to
draw, never a result.
"""
