"""Tests of the example consumers."""
