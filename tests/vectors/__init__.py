"""The test vectors of the simulator, and everybody who reads them: the app first."""
