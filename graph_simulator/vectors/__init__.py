"""Test vectors for any receiver of Graph notifications: `python -m graph_simulator vectors DIR` (docs/vectors.md)."""
