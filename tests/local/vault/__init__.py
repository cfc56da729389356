"""Tests of the stand-in for Azure Key Vault, through Azure's own SDK."""
