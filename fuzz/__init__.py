"""Fuzzing: arbitrary input for the modules that read untrusted data. See `python -m fuzz --help`."""
