# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three parts of one relocation, and what brings each of them to its end.

Inside: the edge, which coordinates and decides; source and destination, which obey it (``base``); what a limit on the pause
means (``budget``); the end of a post-copy (``drain``); the ending of every part for every verdict (``endings``), taken by
the living part, by the part that was started again after a kill (``restarted``), and by ``recovery``, when no process is
left. A ``snapshot`` and a ``revival`` are source and destination at different times, each ``alone``, with a recording between;
a ``trial`` is a snapshot that nobody keeps.

May import every other package. Invariants: a state is in the journal before it is acted on. The edge alone decides, in
``edge.Edge.cutover``. A part that has given its word never decides by itself. Every step after the commit can be repeated.
"""
