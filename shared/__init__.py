"""What the functions share: one idea a module, each importing only from those below it."""
