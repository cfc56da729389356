"""Facts about each kind of Graph resource, and resource paths. Pure data, no I/O."""
