"""What waits on the queue: envelopes, dead letters, retry decisions."""
