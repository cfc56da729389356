"""The operator's command line: `python -m ops`. It reads the app's own settings and works on any system they name."""
