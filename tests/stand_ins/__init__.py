"""Stand-ins for services of Microsoft, for tests only."""
