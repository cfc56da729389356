"""Text that others wrote, made harmless for those who read it."""


def plain(text: str) -> str:
    """Return a text that is harmless in a terminal, a log or a table: each non-printable character becomes U+FFFD,
    except line breaks.

    Non-printable are control characters, which begin escape sequences, and those that reverse the direction of a line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def line(text: str) -> str:
    """Return a plain text without line breaks: text of others must not add lines to a log."""
    return plain(" ".join(text.splitlines()))
