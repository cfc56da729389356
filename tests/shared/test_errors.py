"""The app's exceptions."""

from datetime import timedelta

import pytest

from shared.errors import AlreadyProcessed, Reason, Refused, RelayError, RetryLater
from shared.graph.client import GraphRequestError
from shared.keys.key import BrokenKey


@pytest.mark.parametrize(
    "error",
    [
        Refused(Reason.TOKEN_KEY),
        AlreadyProcessed("the blob is gone"),
        RetryLater(Reason.GRAPH, "Graph answers 503", retry_after=timedelta(seconds=7)),
        BrokenKey(Reason.KEY_STORE, "key a: expected an RSA key"),
        GraphRequestError(403, "Forbidden", "no consent"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_is_raised_again_is_an_equal_one_without_its_past(error: RelayError) -> None:
    with pytest.raises(RelayError) as raised:
        raise error
    again = raised.value.copy()
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert raised.value.__traceback__ is not None
    assert again.__traceback__ is None
