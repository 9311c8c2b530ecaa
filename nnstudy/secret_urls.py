"""URLs and messages as they may be shown: without passwords."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

MASK = "***"

# Up to the last @, so that a password with characters that should have been quoted is covered.
_PASSWORD = re.compile(r"(?<=://)([^:/?#@]*):(.+)@", re.DOTALL)
_QUERY_SECRET = re.compile(r"(?i)([?&][^=&#]*(?:password|passwd|pwd|secret|token)[^=&#]*=)([^&]+)")


def mask(url: str) -> str:
    """Returns a URL with its password, and secret parts of its query, masked."""
    return _QUERY_SECRET.sub(rf"\1{MASK}", _PASSWORD.sub(rf"\1:{MASK}@", url))


def scrub(text: object, url: str) -> str:
    """Returns a text, such as another library's error, without the secrets of a URL."""
    shown = str(text).replace(url, mask(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        shown = shown.replace(secret, MASK)
    return shown


def _secrets(url: str) -> set[str]:
    found = {match[2] for pattern in (_PASSWORD, _QUERY_SECRET) for match in pattern.finditer(url)}
    spelled = {spelling for secret in found for spelling in (unquote(secret), quote(secret, ""))}
    return found | spelled
