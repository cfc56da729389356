"""`python -m local.graph` is `python -m graph_simulator`."""

from graph_simulator.__main__ import main

main()
