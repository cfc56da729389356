"""Attacks on the running functions: unproven input must have no effect, and no secret may leak."""
