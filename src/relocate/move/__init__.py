"""Moves that somebody asks for now: what is run through ansible-runner, what is shown meanwhile, and what came of it.

``relocation`` runs the two playbooks that move and recover, ``playbook`` runs any. It may import the lab's paths and nothing
of the scheduler, whose launchers use it. Invariant: an outcome is the one that the hosts report; nothing here decides one.
"""
