"""The faults that only the parent process can cause: in storage, the key store and the functions."""

from pathlib import Path

import msgspec

from local.run.system import System


class _State(msgspec.Struct, frozen=True):
    name: str
    active: bool
    times: int


class MachineFaults:
    """Applies the faults of the page's "Break something" to a system; see local/feed/breakage.py."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._restarts = 0

    def apply(self) -> None:
        """Read which faults are on, and apply the changes. Raises httpx.HTTPError, ChildFailed."""
        answer = self._system.http.get(f"{self._system.feed_url}/api/breakages").raise_for_status()
        states = {state.name: state for state in msgspec.json.decode(answer.content, type=list[_State])}
        self._storage(available=not states["storage"].active)
        key_store_available(self._system.directory / "keys", available=not states["key_store"].active)
        while self._restarts < states["restart"].times:
            self._restarts += 1
            for host in self._system.hosts:
                host.kill()
                host.launch()  # it listens at once, unless storage is unavailable

    def _storage(self, *, available: bool) -> None:
        azurite = self._system.azurite
        if available and not azurite.is_running:
            azurite.start()
        elif not available and azurite.is_running:
            azurite.stop()


def key_store_available(directory: Path, *, available: bool) -> None:
    """Replace the directory of keys with an empty file, or restore it; file modes don't stop root."""
    aside = directory.with_name(f"{directory.name}-unavailable")
    if available and aside.exists():
        directory.unlink()
        aside.rename(directory)
    elif not available and directory.is_dir():
        directory.rename(aside)
        directory.touch()
