"""The time limits of storage clients."""

from azure.storage.queue import ExponentialRetry

from shared.storage.account import ACKNOWLEDGE_LIMITS


def test_the_one_retry_of_the_202_is_at_once() -> None:
    assert ACKNOWLEDGE_LIMITS.retries == 1
    assert ExponentialRetry(**ACKNOWLEDGE_LIMITS.options()).get_backoff_time({"count": 1}) == 0
