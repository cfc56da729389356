"""What every target raises."""


class BrokenPromise(AssertionError):
    """A module did what it promises never to do."""


def promise(kept: bool, what: str) -> None:
    """Raise BrokenPromise unless it is kept."""
    if not kept:
        raise BrokenPromise(what)
