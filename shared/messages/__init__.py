"""The content of queue messages: envelopes, dead letters, retry decisions."""
