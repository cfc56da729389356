"""Tests of what keeps subscriptions alive."""
