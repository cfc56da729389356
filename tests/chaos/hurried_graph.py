"""The Graph simulator with its longest waits shortened, so that a run comes to its end, and in larger collections,
so that a small storage emulator can follow.
"""

from datetime import timedelta

from graph_simulator import __main__ as graph
from graph_simulator import delivery, endpoint, signing

if __name__ == "__main__":
    delivery.LONGEST_PAUSE = timedelta(minutes=1)
    delivery.SLOW_DELAY = timedelta(seconds=20)
    delivery.GATHERING_SECONDS = 0.25
    endpoint.WINDOW = timedelta(seconds=30)
    # Keys rotate each minute here, and daily there: one must not be withdrawn while notifications it proves are queued.
    signing.PUBLISHED_KEYS = 100
    graph.main()
