"""Keeps the subscriptions as declared."""
