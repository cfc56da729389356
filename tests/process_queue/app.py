"""The app in tests of process_queue: built at its composition root, with storage in memory and scripted services."""

from dataclasses import replace
from random import Random

import requests

from shared.configuration.declaration import Declarations
from shared.configuration.settings import Settings
from shared.keys.store import KeyStore
from shared.relay import Relay
from shared.storage.clients import StorageClients
from tests.builders import Clock, encryption_key, environment
from tests.in_process import InProcess
from tests.memory import MemoryKeys
from tests.stand_ins.login import LOGIN, login


class FixedRandom(Random):
    """Randomness whose `random` is always the same; 0: the shortest delays."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self._value = value

    def random(self) -> float:
        """See Random."""
        return self._value


def start_app(
    storage: StorageClients,
    clock: Clock,
    session: requests.Session,
    *,
    declarations: Declarations | None = None,
    key_store: KeyStore | None = None,
    random: Random | None = None,
    **changes: str | None,
) -> Relay:
    """Return the app of a new process, with these settings; `session` reaches Entra ID within the process.

    key_store: by default one with the key that the builders encrypt to.
    """
    session.mount(LOGIN, InProcess(login, clock))
    settings = Settings.from_environment(environment(LOGIN_BASE_URL=LOGIN, **changes))
    return Relay(
        settings if declarations is None else replace(settings, declarations=declarations),
        storage,
        clock=clock,
        session=session,
        random=random or FixedRandom(0),
        key_store=key_store or MemoryKeys(encryption_key()),
    )
