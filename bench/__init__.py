"""The limits that must hold, as ratios measured in one run: `make bench`."""
