"""A stand-in for Azure Key Vault, as far as this app uses it."""
