"""The Graph simulator with its longest waits shortened, so that a run completes, and with larger collections,
so that a storage emulator keeps up.
"""

from datetime import timedelta

from graph_simulator import __main__ as graph
from graph_simulator import delivery, endpoint, signing

if __name__ == "__main__":
    delivery.LONGEST_PAUSE = timedelta(minutes=1)
    delivery.SLOW_DELAY = timedelta(seconds=20)
    delivery.GATHERING_SECONDS = 0.25
    endpoint.WINDOW = timedelta(seconds=30)
    # Keys rotate each minute here, daily in production: a key must not be withdrawn while its notifications are queued.
    signing.PUBLISHED_KEYS = 100
    graph.main()
