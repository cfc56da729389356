"""What stands in for services of Microsoft in tests alone."""
