"""Tests of what sets this repository up."""
