"""Every case of a set, in the order of names."""

from graph_simulator.vectors.case import Case
from graph_simulator.vectors.damaged import damaged
from graph_simulator.vectors.forged import forged
from graph_simulator.vectors.genuine import genuine
from graph_simulator.vectors.handshakes import handshakes
from graph_simulator.vectors.texts import texts
from graph_simulator.vectors.world import World


def cases(world: World) -> list[Case]:
    """Return all cases; takes about a second."""
    parts = (handshakes, genuine, texts, forged, damaged)
    return sorted((case for part in parts for case in part(world)), key=lambda case: case.name)
