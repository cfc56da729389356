"""The environment as one typed object, and what is declared."""
