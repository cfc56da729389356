"""Enumerates every point at which a process can die or a dependency fail: `make crash`."""
