"""Tests of shared/subscriptions."""
