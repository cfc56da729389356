"""Code that the functions share: one concept per module, each importing only from those below it."""
