"""A long run at a set rate with rotating faults: `make soak`. No resource may grow, and the account must balance."""
