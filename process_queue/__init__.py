"""Verifies, decrypts and delivers what was queued, and acts on lifecycle notifications."""
