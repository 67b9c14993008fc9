# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol's states. Each transition is written to the journal of its host *before* it is acted on.

The edge coordinates and decides, because the truth of a service is where its packets go. It is the two-phase commit of the
textbooks: source and destination vote, the edge commits, in doubt nobody moves.

====================  =========================  =======================  ==========================================
edge (coordinator)    source                     destination              what is true in the world
====================  =========================  =======================  ==========================================
STAGING               STAGING                    STAGING                  the container runs at the source
STAGING               STAGED                     GATED                    a gated start waits at the destination
HOLDING               STAGED                     GATED                    the edge holds packets; nothing is frozen
HOLDING               FREEZING                   GATED                    frozen, being dumped; the source can thaw
ROUTING               VOTED                      RESTORING                image complete; the source may no longer
                                                                          thaw by itself
ROUTING               VOTED                      PREPARED                 restored, not one instruction run yet
COMMITTED             VOTED                      PREPARED                 **the commit point**: the destination is the
                                                                          only truth from here on
DRAINING              VOTED                      DRAINING                 post-copy only: packets flow to the copy, which
                                                                          runs, and whose last pages are still at the
                                                                          source; if they are lost, so is the copy
RELEASED              COMMITTED                  COMMITTED                packets flow to the destination; the source
                                                                          is killed while frozen and cut off
DONE                  DONE                       DONE                     nothing is left but the journals
ROLLED_BACK           ROLLED_BACK                ROLLED_BACK              the source runs on; nothing is left elsewhere
====================  =========================  =======================  ==========================================

A part that loses its channel before it voted rolls back by itself. After its vote it is in doubt: the source stays frozen,
the destination stays gated, until the edge (restarted by its guardian) or ``relocate recover`` brings the verdict.

A move in which the container is made anew passes fewer of them: ``parts.recreating`` has its table.
"""

from __future__ import annotations

import enum

from ansible_collections.relocate.mtd.plugins.module_utils import _states


class State(str, enum.Enum):
    """Where one part of one relocation stands."""

    STAGING = "staging"
    STAGED = "staged"
    GATED = "gated"
    HOLDING = "holding"
    FREEZING = "freezing"
    VOTED = "voted"
    RESTORING = "restoring"
    ROUTING = "routing"
    PREPARED = "prepared"
    COMMITTED = "committed"  # can't fail from this point: only be repeated
    DRAINING = "draining"
    RELEASED = "released"
    DONE = "done"
    ROLLED_BACK = "rolled-back"


#: Nothing is left to do in these.
FINAL = frozenset({State.DONE, State.ROLLED_BACK})

#: In these a part must not decide alone: it has given its word and waits for the edge's verdict.
IN_DOUBT = frozenset({State.VOTED, State.PREPARED})

#: The verdict has been given, and it was commit.
AFTER_COMMIT = frozenset(State(each) for each in _states.AFTER_COMMIT)
