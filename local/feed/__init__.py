"""The feed: a small destination service that keeps what the relay delivers and shows it as it arrives."""
