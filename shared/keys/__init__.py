"""Encryption keys: stores, rotation, decryption."""
