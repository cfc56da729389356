"""The behaviour of the Functions host as a table that runs against the stand-in or against `func start`."""
