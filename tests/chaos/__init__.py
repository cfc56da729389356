"""The fault run: everything that can go wrong, goes wrong at random, and nothing may be lost (`make chaos`)."""
