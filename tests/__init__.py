"""The tests mirror the packages of the repository."""
