"""Subscriptions that never die and keys that rotate: shown over the whole of their lives, through the simulator."""
