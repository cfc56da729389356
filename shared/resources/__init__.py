"""What Graph knows of each kind of resource: pure data and paths, no I/O."""
