"""Compare SQL by its tokens: comments, white space and semicolons do not count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def normalized(statement: str) -> str:
    """Return a statement's tokens with one space between them, or the text itself if it cannot be parsed."""
    import pglast  # here: it loads slowly, and most modules only read which versions are applied

    try:
        tokens = pglast.scan(statement)
    except pglast.parser.ParseError:
        return " ".join(statement.split())
    kept = [token for token in tokens if token.name not in ("SQL_COMMENT", "C_COMMENT", "ASCII_59")]
    return " ".join(statement[token.start : token.end + 1] for token in kept)


def digest(statements: Iterable[str]) -> str:
    """Return the SHA-256 over the tokens of statements."""
    texts = (normalized(statement) for statement in statements)
    return hashlib.sha256(" ".join(text for text in texts if text).encode()).hexdigest()
