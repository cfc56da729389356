"""Handshakes: Graph's request to an endpoint on creation of a subscription, and the exact octets of the answer."""

from collections.abc import Iterator

from graph_simulator.vectors.case import ECHOED, Case
from graph_simulator.vectors.rules import DELIVERY, FORMS, Rule
from graph_simulator.vectors.world import World

_ECHO = Rule("Answer 200, text/plain, and the token decoded once, octet for octet.", DELIVERY)
_DECODED = Rule("In a query, + is a space and %xx an octet; the octets are UTF-8.", FORMS)
_OTHERS = Rule("validationToken is appended to a query that the notificationUrl has already.", DELIVERY)


def handshakes(world: World) -> Iterator[Case]:
    """Return every handshake."""
    request = world.draw("handshakes").guid()
    words = "Validation%3a+Testing+client+application+reachability+for+subscription+Request-Id%3a+"
    long = world.draw("a long handshake").octets(1_000).hex()
    table: tuple[tuple[str, str, Rule, str, bytes], ...] = (
        ("usual", "The form of today.", _ECHO, f"validationToken={words}{request}",
         f"Validation: Testing client application reachability for subscription Request-Id: {request}".encode()),
        ("opaque", "Letters and digits alone.", _ECHO, "validationToken=abcdefGHIJ0123456789", b"abcdefGHIJ0123456789"),
        ("escaped-plus", "%2B is a plus sign, + a space.", _DECODED, "validationToken=a%2Bb+c", b"a+b c"),
        ("escaped-percent", "%252B is decoded once: %2B.", _ECHO, "validationToken=a%252Bb", b"a%2Bb"),
        ("escaped-space", "%20 is a space.", _DECODED, "validationToken=a%20b", b"a b"),
        ("escaped-separators", "%26, %3D and %23 belong to the token.", _DECODED,
         "validationToken=a%26b%3Dc%23d", b"a&b=c#d"),
        ("quotes", "Quotation marks stay as they are: the answer is no JSON.", _ECHO, "validationToken=%22a%22%27b%27",
         b"\"a\"'b'"),
        ("beyond-ascii", "Octets of UTF-8, in either case of hexadecimal digits.", _DECODED,
         "validationToken=Gr%c3%bc%C3%9Fe+%F0%9F%8E%88", "Grüße 🎈".encode()),
        ("own-query-before", "The URL has a query of its own.", _OTHERS,
         "tenant=a&code=x%3D&validationToken=abc", b"abc"),
        ("own-query-behind", "The parameter's place does not matter.", _OTHERS, "validationToken=abc&tenant=a", b"abc"),
        ("long", "Two thousand characters.", _ECHO, f"validationToken={long}", long.encode()),
    )  # fmt: skip
    for name, description, rule, query, answer in table:
        yield Case(f"handshake-{name}", description, rule, None, status=ECHOED, query=query, answer=answer)
