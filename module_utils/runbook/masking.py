"""Mask a module's secret options: by the option's name, never by a common word.

Ansible masks a secret by its value, wherever that occurs in a result. A password that is also a word of the output
then changes paths, names and numbers that later tasks use, and the asterisks reveal the word.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
STARS = "********"

#: A value of this length with letters and digits is not a word, nor is a longer one with punctuation.
DISTINCTIVE_LENGTH = 12
PASSPHRASE_LENGTH = 16
#: In the output of the operator's hook, shorter ones are removed too, because no task reads it.
SECRET_LENGTH = 6


def shown(params: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a module's options as they may be printed: secret ones by their name, and unknown ones."""
    return {name: _shown(value, spec.get(name)) for name, value in params.items()}


def _shown(value: Any, option: Mapping[str, Any] | None) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if option is None or option.get("no_log"):
        return MASK
    inner = option.get("options")
    if not inner:
        return value
    if isinstance(value, Mapping):
        return shown(value, inner)
    if isinstance(value, list):
        return [_shown(entry, option) for entry in value]
    return MASK  # refused for its type: it may be an address with a password


def is_distinctive(secret: str) -> bool:
    """Return whether a text looks like a password or a token, so that it does not occur by chance."""
    if len(secret) < DISTINCTIVE_LENGTH or re.search(r"\s", secret):
        return False
    mixed = re.search(r"[A-Za-z]", secret) and re.search(r"\d", secret)
    return bool(mixed or (len(secret) >= PASSPHRASE_LENGTH and re.search(r"\W", secret)))


def _is_name(secret: str) -> bool:
    return len(secret) < DISTINCTIVE_LENGTH or re.fullmatch(r"[A-Za-z_]+", secret) is not None


def masked_by_value(secrets: Iterable[str], printed: Any) -> set[str]:
    """Return the secrets that may be masked wherever they occur: they are not words, and not part of another option.

    :param printed: the options as ``shown`` returns them.
    """
    others = json.dumps(printed, default=str, ensure_ascii=False)
    return {secret for secret in map(str, secrets) if is_distinctive(secret) and secret not in others}


def without(text: str, secrets: Iterable[str | None]) -> str:
    """Remove secrets from the text of libpq or a client tool, the longest first, but no names."""
    return _replaced(text, [secret for secret in secrets if secret and not _is_name(secret)])


def without_any(text: str, secrets: Iterable[str]) -> str:
    """Remove secrets from a text that no task reads, including short ones and parts of an address or header."""
    parts = [part for secret in secrets for part in (secret, *_parts(secret))]
    return _replaced(text, [part for part in parts if len(part) >= SECRET_LENGTH])


def _parts(secret: str) -> list[str]:
    """Return the password, path and query of an address, but not the host; of anything else, its words."""
    address = urllib.parse.urlsplit(secret) if "://" in secret else None
    text = f"{address.password or ''} {address.path} {address.query}" if address else secret
    return re.split(r"[\s?&=/:;,\"']+", text)


def _replaced(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(set(secrets), key=len, reverse=True):
        text = text.replace(secret, STARS)
    return text
