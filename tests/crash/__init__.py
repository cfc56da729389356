"""Every window in which a process can die or a dependency fail, enumerated: `make crash`."""
