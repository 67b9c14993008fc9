"""The scheduler: one clock for each container, and what it takes to act on it for years."""
