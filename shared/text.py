"""Text that others wrote, made harmless for those who read it."""


def plain(text: str) -> str:
    """Return a text that can do nothing to a terminal, a log or a table: each character that is not printable becomes
    U+FFFD, except line breaks.

    Not printable are control characters, which begin escape sequences, and those that reverse the direction of a line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def line(text: str) -> str:
    """Return a plain text without line breaks: others must not write further lines into a log."""
    return plain(" ".join(text.splitlines()))
