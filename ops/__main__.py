"""`python -m ops`."""

from ops.cli import ops

if __name__ == "__main__":
    ops(prog_name="python -m ops")
