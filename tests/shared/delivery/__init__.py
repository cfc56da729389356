"""Tests of shared/delivery."""
