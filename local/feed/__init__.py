"""The feed: a small destination service that stores the relay's events and shows them as they arrive."""
