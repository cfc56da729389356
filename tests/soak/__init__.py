"""A long run at a set rate with rotating faults: `make soak`. Nothing may grow, and the account must close."""
