"""Tests of what answers Graph."""
