"""The bench of the cutover, piece by piece: the lab, what is measured, and what is made of it."""
