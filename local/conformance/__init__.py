"""What a Functions host does, as a table that can be run: against the stand-in, or against `func start`."""
