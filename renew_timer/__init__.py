"""Keeps subscriptions what they are declared to be."""
