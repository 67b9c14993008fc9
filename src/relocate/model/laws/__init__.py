"""The mathematics: distributions of attacks and exposure, renewal equations, closed forms, and the numerics below them.

It may import the collection's clocks and ``model.measured``, and no other package of the command. Invariant: functions of
their arguments alone; what is random is drawn elsewhere.
"""
