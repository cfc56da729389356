"""The declared subscriptions, kept as declared."""
