"""Tests of the shared modules, one file for each."""
