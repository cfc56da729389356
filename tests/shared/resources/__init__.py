"""Tests of shared/resources."""
