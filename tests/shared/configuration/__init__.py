"""Tests of shared/configuration."""
