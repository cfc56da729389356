"""The environment as one typed object, and the declarations."""
