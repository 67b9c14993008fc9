"""The demonstration: tenants in the lab, clients that never stop asking, and moves under their feet."""
