"""Items packed into envelopes: none lost, none added, each with the evidence of its own tenants only."""

import json
from collections.abc import Sequence
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.messages.envelope import ChangeBatch, LifecycleBatch, read, write
from shared.messages.packing import Evidence, Sealed, pack_changes, pack_lifecycle, sealed
from shared.storage.queues import MESSAGE_LIMIT
from tests.builders import NOW, OTHER_TENANT, TENANT, change, rich
from tests.shared.messages.test_envelope import items

Post = list[tuple[dict[str, object], str]]
"""Items, each with its tenant."""

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHANNEL = Evidence({}, channel_is_proof=True)
NO_LIMIT = 10**9

tenants = st.sampled_from([TENANT, OTHER_TENANT, "third"])
posts = st.lists(st.tuples(items, tenants), max_size=15)
tokens = st.dictionaries(tenants, st.lists(st.text("abcXYZ019-_.", min_size=1, max_size=200), max_size=4), max_size=3)
with_tokens = tokens.map(lambda by_tenant: Evidence(by_tenant, channel_is_proof=False))
evidences = with_tokens | st.just(Evidence(None, channel_is_proof=False)) | st.just(CHANNEL)
limits = st.integers(200, 4000)


def to_be_packed(post: Post) -> list[Sealed]:
    return [sealed(msgspec.Raw(json.dumps(item, ensure_ascii=False).encode()), tenant) for item, tenant in post]


def packed(post: Post, evidence: Evidence, limit: int) -> list[tuple[ChangeBatch, list[Sealed]]]:
    """Envelopes, each with the sealed items that it should hold."""
    wanted = to_be_packed(post)
    left = iter(wanted)
    return [
        (envelope, [next(left) for _ in envelope.items])
        for envelope in pack_changes(wanted, evidence, NOW, TRACE, limit)
    ]


def tenants_of(held: list[Sealed]) -> list[str]:
    """The tenants of items, without duplicates, in the order of the items."""
    return list(dict.fromkeys(item.tenant for item in held))


@given(posts, evidences, limits)
def test_packed_items_are_whole_in_few_envelopes_with_the_evidence_of_their_own_tenants(
    post: Post, evidence: Evidence, limit: int
) -> None:
    """One test for all properties: to draw a POST takes longer than to look at its envelopes."""
    envelopes = packed(post, evidence, limit)
    changes = [change_batch for change_batch, _ in envelopes]
    lifecycle = pack_lifecycle(to_be_packed(post), NOW, TRACE, limit)
    assert_whole(post, changes)
    assert_whole(post, lifecycle)
    for envelope in (*changes, *lifecycle):
        assert (envelope.received, envelope.trace, envelope.attempt, envelope.replayed) == (NOW, TRACE, 0, None)
        assert envelope.items
        assert len(write(envelope)) <= limit or len(envelope.items) == 1
    for change_batch, held in envelopes:
        assert_evidence(change_batch, held, evidence)
    for (_, before), (_, following) in pairwise(envelopes):
        (both,) = pack_changes([*before, following[0]], evidence, NOW, TRACE, NO_LIMIT)
        assert len(write(both)) > limit - 2  # the estimate counts one comma more, of items and of tokens


def assert_whole(post: Post, envelopes: Sequence[ChangeBatch | LifecycleBatch]) -> None:
    """Nothing is lost, nothing is added, and the order is kept."""
    assert [json.loads(bytes(item)) for envelope in envelopes for item in envelope.items] == [item for item, _ in post]


def assert_evidence(envelope: ChangeBatch, held: list[Sealed], evidence: Evidence) -> None:
    """An envelope has the evidence of exactly its items' tenants, and grows by its weight."""
    tenants = tenants_of(held)
    if evidence.channel_is_proof:
        assert (envelope.tokens, envelope.proven) == ((), tuple(tenants))
    elif evidence.tokens is None:
        assert (envelope.tokens, envelope.proven) == (None, ())
    else:
        wanted = tuple(token for tenant in tenants for token in evidence.tokens.get(tenant, ()))
        assert (envelope.tokens, envelope.proven) == (wanted, ())
    bare = msgspec.structs.replace(envelope, tokens=envelope.tokens and (), proven=())
    added = len(write(envelope)) - len(write(bare))
    weight = sum(evidence.weight(tenant) for tenant in tenants)
    assert added == (weight - 1 if weight else 0)  # the last one has no comma


def test_a_queue_message_is_the_one_that_earlier_versions_wrote() -> None:
    """Messages outlive a deployment, either way; an earlier version ignores `destination`."""
    first, second = (
        sealed(msgspec.Raw(b'{"n": 1.50, "a":"\xc3\xa9"}'), TENANT),
        sealed(msgspec.Raw(b"{}"), OTHER_TENANT),
    )
    received, trace = '"received":"2031-02-03T04:05:06Z"', f'"trace":"{TRACE}"'
    texts = r'"items":[{"n": 1.50, "a":"\u00e9"},{}]'
    evidence = Evidence({OTHER_TENANT: ["c.d.e"], TENANT: ["a.b.c", "b.c.d"]}, channel_is_proof=False)
    expected = {
        write(pack_changes([first, second], evidence, NOW, TRACE)[0]): (
            f'{{"kind":"change",{received},{texts},"tokens":["a.b.c","b.c.d","c.d.e"],"attempt":0,"replayed":null,'
            f'{trace},"proven":[],"destination":""}}'
        ),
        write(pack_changes([first, second], Evidence(None, channel_is_proof=False), NOW, TRACE)[0]): (
            f'{{"kind":"change",{received},{texts},"tokens":null,"attempt":0,"replayed":null,{trace},"proven":[],"destination":""}}'
        ),
        write(pack_changes([first, second], CHANNEL, NOW, TRACE)[0]): (
            f'{{"kind":"change",{received},{texts},"tokens":[],"attempt":0,"replayed":null,{trace},'
            f'"proven":["{TENANT}","{OTHER_TENANT}"],"destination":""}}'
        ),
        write(pack_lifecycle([first, second], NOW, TRACE)[0]): (
            f'{{"kind":"lifecycle",{received},{texts},"tokens":[],"attempt":0,"replayed":null,{trace}}}'
        ),
    }
    for written, before in expected.items():
        assert written == before
        assert isinstance(read(before), ChangeBatch | LifecycleBatch)


def test_a_post_of_a_thousand_items_makes_few_messages_within_the_limit() -> None:
    wanted = [sealed(msgspec.Raw(msgspec.json.encode(change())), TENANT) for _ in range(1000)]
    envelopes = pack_changes(wanted, Evidence({TENANT: ["x" * 1500]}, channel_is_proof=False), NOW, TRACE)
    total = sum(len(write(envelope)) for envelope in envelopes)
    assert all(len(write(envelope)) <= MESSAGE_LIMIT for envelope in envelopes)
    assert len(envelopes) <= total // (MESSAGE_LIMIT * 0.9) + 1


def test_forty_rich_notifications_cost_four_messages_at_most() -> None:
    wanted = [sealed(msgspec.Raw(msgspec.json.encode(rich())), TENANT) for _ in range(40)]
    assert len(pack_changes(wanted, Evidence({TENANT: ["x" * 1500]}, channel_is_proof=False), NOW, TRACE)) <= 4


def test_no_items_need_no_envelope() -> None:
    assert pack_changes([], CHANNEL, NOW, TRACE) == []
    assert pack_lifecycle([], NOW, TRACE) == []
