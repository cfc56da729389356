"""The exception of every target."""


class BrokenPromise(AssertionError):
    """A module broke a promise."""


def promise(kept: bool, what: str) -> None:
    """Raise BrokenPromise unless a promise is kept."""
    if not kept:
        raise BrokenPromise(what)
