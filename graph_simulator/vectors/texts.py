"""Contents with unusual texts and numbers: the decrypted octets must be the encrypted ones."""

from collections.abc import Iterator

from graph_simulator.vectors import rules
from graph_simulator.vectors.case import Case, accept, collection, to_json
from graph_simulator.vectors.resources import CHAT_MESSAGE, message, path_of
from graph_simulator.vectors.rules import Rule
from graph_simulator.vectors.world import World

BLOCK = 16

_STRINGS = Rule(
    "A string may hold any code point, escaped or not, and an escape alone of a surrogate pair.",
    f"{rules.JSON}#section-8.2",
)
_NUMBERS = Rule("A number has any precision: pass it on as it came.", f"{rules.JSON}#section-6")
_SIZES = Rule("No size is promised: bodies of several hundred KB are ordinary.", rules.RICH)
_PADDED = Rule("A resource that fills its last block is followed by a whole block of padding.", rules.PADDING)


def texts(world: World) -> Iterator[Case]:
    """Return every case of unusual content."""
    for name, description, rule, text in (
        ("nul", "A NUL, escaped.", _STRINGS, rb"a\u0000b"),
        ("controls", "Every control character, escaped.", _STRINGS, b"".join(rb"\u%04x" % code for code in range(32))),
        ("half-surrogate-high", "The first half of a surrogate pair alone.", _STRINGS, rb"cut \ud83c"),
        ("half-surrogate-low", "The second half of a surrogate pair alone.", _STRINGS, rb"\udf88 cut"),
        ("surrogates-reversed", "Two halves in the wrong order.", _STRINGS, rb"\udf88\ud83c"),
        ("surrogate-pair-escaped", "A pair of escapes that is one character.", _STRINGS, rb"\ud83c\udf88"),
        ("right-to-left", "Hebrew and Arabic, with marks of direction.", _STRINGS,
         "\u202e\u05e9\u05dc\u05d5\u05dd \u202a123\u202c \u0645\u0631\u062d\u0628\u0627\u200f".encode()),
        ("combining", "Combining marks, joiners and variation selectors.", _STRINGS,
         "e\u0301 👩\u200d👩\u200d👧 ❤\ufe0f \u1100\u1161".encode()),
        ("noncharacters", "Code points that are no characters, and the highest.", _STRINGS,
         "\ufeff\ufffe\uffff\U0010ffff".encode()),
        ("line-separators", "U+2028 and U+2029, which are no line ends in JSON.", _STRINGS, "a\u2028b\u2029c".encode()),
        ("escaped-slash", "Escapes where none are needed.", _STRINGS, rb"a\/b\u0041\u00e9"),
        ("markup", "HTML and a script.", _STRINGS, rb"<script>alert(\"&amp;\")</script>"),
    ):  # fmt: skip
        yield _case(world, f"text-{name}", description, rule, text)
    for name, description, number in (
        ("integer-beyond-2-53", "2^53 + 1, which a double can't hold.", b"9007199254740993"),
        ("integer-of-a-hundred-digits", "A number of a hundred digits.", b"1234567890" * 10),
        ("trailing-zeros", "1.10 is not written 1.1.", b"1.10"),
        ("exponent", "A number beyond every double.", b"1E+400"),
        ("minus-zero", "Minus zero.", b"-0.0"),
    ):
        yield _case(world, f"number-{name}", description, _NUMBERS, member=b'"reading":%b' % number)
    yield _case(
        world,
        "text-duplicate-names",
        "One name twice: which value counts is the reader's business.",
        Rule("Names should be unique; the octets are passed on as they came.", f"{rules.JSON}#section-4"),
        member=b'"note":"one","note":"two"',
    )
    yield _case(
        world,
        "text-nested",
        "Two hundred objects in each other.",
        Rule("A parser may bound the depth of nesting; two hundred is little.", f"{rules.JSON}#section-9"),
        member=b'"deep":' + b'{"a":' * 200 + b"1" + b"}" * 200,
    )
    for name, length in (("70-kib", 70 * 1024), ("300-kib", 300 * 1024)):
        words = b"Tides and winds. " * (length // 17 + 1)
        yield _case(world, f"size-{name}", f"A content of more than {name[:-4]} KiB.", _SIZES, words)
    for remainder in (0, 1, 15):
        name = f"size-{remainder}-over-whole-blocks"
        filling = b"x" * ((remainder - len(_plain(world, name))) % BLOCK)
        yield _case(world, name, f"{remainder} octets more than whole blocks.", _PADDED, filling)
    yield _half_surrogate_in_the_clear(world)


def _plain(world: World, name: str, text: bytes = b"", member: bytes = b"") -> bytes:
    """Return a message with exactly these octets as its text, and with one more member."""
    written = to_json(message(world.draw(name), world.chat, "the text"))
    return written.replace(b"the text", text)[:-1] + (b"," + member if member else b"") + b"}"


def _case(world: World, name: str, description: str, rule: Rule, text: bytes = b"", member: bytes = b"") -> Case:
    plain = _plain(world, name, text, member)
    path = path_of(message(world.draw(name), world.chat))
    draw = world.draw(f"{name}, sealed")
    content = world.enclose(plain, draw)
    item = world.item("all-chats", path, CHAT_MESSAGE, draw, encryptedContent=content)
    return Case(name, description, rule, collection([item], [world.token()]), (accept(plain),))


def _half_surrogate_in_the_clear(world: World) -> Case:
    draw = world.draw("half a surrogate in the clear")
    first, second = (world.item("one-chat", path_of(message(draw, world.chat)), CHAT_MESSAGE, draw) for _ in range(2))
    first["resourceData"]["topic"] = "cut here"
    body = collection([first, second]).replace(b"cut here", rb"cut \ud83c")
    return Case(
        "text-half-surrogate-in-the-clear",
        "Half of a surrogate pair in resourceData, and a neighbor.",
        _STRINGS,
        body,
        (accept(), accept()),
    )
