"""Fuzzing: whatever anybody may send is thrown at the modules that read it. `python -m fuzz --help` says how."""
