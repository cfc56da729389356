"""Nothing unproven gets in, nothing secret gets out: tried on the running functions."""
