"""RELOCATE: moving-target defence for containers.

The package is the speaker: clock, simulator, planner, lab and reports. The verbs (what is done to one host) live in the
Ansible collection ``relocate.mtd``, the sentences (playbooks, roles, inventories) beside it in the project.
"""

__version__ = "0.1.0"
