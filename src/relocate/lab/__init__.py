"""The lab: real Docker hosts on this machine, in network namespaces of their own. The work is roles/lab's: this calls it."""
