"""The fleet as a person looks at it: differences between hosts, configurations, entropies, the expected next hop."""
