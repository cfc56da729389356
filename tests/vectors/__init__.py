"""The test vectors of the simulator, and their readers: the app first."""
