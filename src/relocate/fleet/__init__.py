"""The fleet as a person looks at it: differences between hosts, configurations, entropies, the expected next hop.

It may import the style of ``model.plots``, and the collection's numbers, which it shows and never computes anew.
"""
