"""Tests of shared/graph."""
