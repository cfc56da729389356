"""Tests of shared/readback."""
