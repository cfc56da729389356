"""A member of the tenant writes messages that make the destination fail."""

from pathlib import Path

import requests

from graph_simulator.authority import Authority
from tests.builders import TENANT, change, minted
from tests.security.attacked import AttackedRelay, attacked

USERS = "/users"


def item(name: str) -> dict[str, object]:
    data = {"@odata.type": "#Microsoft.Graph.user", "id": name}
    return change(f"users/{name}", clientState=minted(TENANT, USERS), changeType="updated", resourceData=data)


def delivered(app: AttackedRelay) -> list[str]:
    return [event["data"]["id"] for event in app.events]


def test_messages_that_the_destination_fails_on_do_not_hold_up_those_of_others(
    tmp_path: Path, authority: Authority, session: requests.Session
) -> None:
    declared = [{"resource": USERS, "changeTypes": ["updated"]}]
    with attacked(tmp_path, authority, session, declared) as app:
        app.fails_on = {f"evil{number}" for number in range(20)}
        for name in app.fails_on:
            app.post(item(name))
        app.drain()
        for number in range(10):
            app.clock.advance(minutes=2)  # some of the hostile ones are due again, one after the other
            app.post(item(f"good{number}"))
            app.drain()
            assert delivered(app)[-1] == f"good{number}"
        assert delivered(app) == [f"good{number}" for number in range(10)]
        assert app.waiting() == 20
