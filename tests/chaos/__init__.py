"""The fault run: faults of every kind at random times; no message may be lost (`make chaos`)."""
