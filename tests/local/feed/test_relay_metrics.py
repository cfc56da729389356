import json

import msgspec
import pytest

from local.feed.relay_metrics import RelayCounters, tally


def measured(name: str, value: int, **attributes: object) -> dict[str, object]:
    return {"name": f"graph_relay.{name}", "attributes": attributes, "value": value}


def test_counters_add_up_over_attributes_and_keep_their_reasons() -> None:
    body = json.dumps(
        [
            measured("received", 7, subscription="a"),
            measured("received", 5, subscription="b"),
            measured("queued", 10),
            measured("delivered", 9),
            measured("duplicates", 1),
            measured("refused", 2, reason="client_state"),
            measured("refused", 1, reason="client_state", lifecycle=True),
            measured("refused", 4, reason="token_signature"),
            measured("dead_lettered", 1, reason="unreadable"),
            measured("retried", 3),
            {"name": "graph_relay.acknowledge_seconds", "attributes": {}, "count": 12, "sum": 0.4},
            {"name": "process.uptime", "attributes": {}, "value": 3.5},
        ]
    )
    assert tally(body.encode()) == RelayCounters(
        reachable=True,
        received=12,
        queued=10,
        delivered=9,
        duplicates=1,
        refused={"client_state": 3, "token_signature": 4},
        dead_lettered={"unreadable": 1},
        retried={"unspecified": 3},
    )


def test_the_counters_of_several_hosts_add_up() -> None:
    first, second = (json.dumps([measured("queued", n), measured("retried", n, reason="graph")]) for n in (2, 3))
    assert tally(first.encode(), second.encode()) == RelayCounters(reachable=True, queued=5, retried={"graph": 5})


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'[{"value": 1}]'])
def test_anything_else_is_not_metrics(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        tally(body)
