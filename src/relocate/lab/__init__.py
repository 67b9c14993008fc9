"""The lab: real Docker hosts on this machine, in network namespaces of their own. The work is roles/lab's: this calls it.

It may import nothing else of the command. Invariant: the lab's name and folders are worked out in ``paths`` alone.
"""
