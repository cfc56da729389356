"""Items packed into envelopes: none lost, none added, each with the evidence of its own tenants only."""

import json
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
def test_packing_loses_nothing_adds_nothing_and_keeps_the_order(post: Post, evidence: Evidence, limit: int) -> None:
    held = [bytes(item) for envelope, _ in packed(post, evidence, limit) for item in envelope.items]
    assert [json.loads(item) for item in held] == [item for item, _ in post]
    lifecycle = pack_lifecycle(to_be_packed(post), NOW, TRACE, limit)
    assert [bytes(item) for envelope in lifecycle for item in envelope.items] == held


@given(posts, evidences, limits)
def test_only_an_envelope_of_a_single_item_exceeds_the_limit(post: Post, evidence: Evidence, limit: int) -> None:
    lifecycle = pack_lifecycle(to_be_packed(post), NOW, TRACE, limit)
    for envelope in [*lifecycle, *(envelope for envelope, _ in packed(post, evidence, limit))]:
        assert envelope.items
        assert len(write(envelope)) <= limit or len(envelope.items) == 1


@given(posts, tokens, limits)
def test_an_envelope_has_the_tokens_of_exactly_its_items_tenants(
    post: Post, tokens: dict[str, list[str]], limit: int
) -> None:
    for envelope, held in packed(post, Evidence(tokens, channel_is_proof=False), limit):
        assert envelope.tokens == tuple(token for tenant in tenants_of(held) for token in tokens.get(tenant, ()))
        assert envelope.proven == ()


@given(posts, limits)
def test_on_a_channel_that_is_proof_an_envelope_names_exactly_its_items_tenants(post: Post, limit: int) -> None:
    for envelope, held in packed(post, CHANNEL, limit):
        assert envelope.proven == tuple(tenants_of(held))
        assert envelope.tokens == ()


@given(posts)
def test_that_graph_got_no_token_is_kept_in_every_envelope(post: Post) -> None:
    assert all(envelope.tokens is None for envelope, _ in packed(post, Evidence(None, channel_is_proof=False), 500))


@given(posts, evidences, limits)
def test_each_envelope_says_when_its_items_came_and_in_which_trace(post: Post, evidence: Evidence, limit: int) -> None:
    lifecycle = pack_lifecycle(to_be_packed(post), NOW, TRACE, limit)
    for envelope in [*lifecycle, *(envelope for envelope, _ in packed(post, evidence, limit))]:
        assert (envelope.received, envelope.trace, envelope.attempt, envelope.replayed) == (NOW, TRACE, 0, None)


@given(posts, evidences, limits)
def test_no_two_neighbours_would_have_fitted_into_one(post: Post, evidence: Evidence, limit: int) -> None:
    envelopes = packed(post, evidence, limit)
    for (_, envelope), (_, following) in pairwise(envelopes):
        (both,) = pack_changes([*envelope, following[0]], evidence, NOW, TRACE, NO_LIMIT)
        assert len(write(both)) > limit - 2  # the estimate counts one comma more, of items and of tokens


@given(posts, evidences)
def test_the_weight_of_evidence_is_what_it_adds_to_an_envelope(post: Post, evidence: Evidence) -> None:
    for envelope, held in packed(post, evidence, NO_LIMIT):
        bare = msgspec.structs.replace(envelope, tokens=envelope.tokens and (), proven=())
        added = len(write(envelope)) - len(write(bare))
        weight = sum(evidence.weight(tenant) for tenant in tenants_of(held))
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
