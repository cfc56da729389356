"""Tests of shared/messages."""
