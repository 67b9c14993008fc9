"""Plots fit for a paper; matplotlib is imported only when one is made."""
