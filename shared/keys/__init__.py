"""Our encryption keys: where they are stored, when they rotate, what they decrypt."""
