import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen

from shared.storage.clients import StorageClients
from tests import builders
from tests.ops.conftest import Operator
from tests.ops.letters import give_up
from tests.waiting import LIMIT


@contextmanager
def watching(operator: Operator) -> Iterator[Popen[str]]:
    process = operator.start("watch", "--json", "--every", "0.5")
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_status_is_printed_repeatedly_until_ctrl_c(operator: Operator, storage: StorageClients) -> None:
    operator.json("reconcile")
    with watching(operator) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["dead_letters"]["count"], len(first["subscriptions"])) == (0, 1)
        give_up(storage, builders.changes(builders.change()))
        report = (json.loads(line) for line in process.stdout)
        assert any(status["dead_letters"]["count"] == 1 for status in report)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 0


def test_a_process_of_its_own_ends_with_the_same_codes(operator: Operator) -> None:
    # 0 is the code of a watch that Ctrl-C ends, above; 2 that of wrong settings, below.
    process = operator.start("dead-letters", "show", "none", "--json")
    output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 1, output + errors


def test_wrong_settings_end_with_2_and_are_named(operator: Operator) -> None:
    process = Operator({**operator.environment, "KEY_STORE": "nowhere"}).start("status")
    output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output) == (2, "")
    assert "KEY_STORE" in errors
    assert "Traceback" not in errors
