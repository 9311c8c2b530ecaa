"""Fenced blocks of the documentation and what the comment above each says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(
    r"^(?:<!-- (?P<marker>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: ``bash``, ``console``, ``python``, ``text``.
        marker: The comment in the line above, or nothing: ``not run: REASON``, ``file: PATH``
            (what follows is written there), ``postgres`` (run against real servers), or one of
            the two names by which continuous integration finds the README's commands.
        text: What it holds.
        line: Where it begins.
    """

    language: str
    marker: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Returns the fenced blocks of a page, in their order."""
    text = page.read_text()
    return [
        Block(
            found["language"],
            found["marker"] or "",
            found["text"],
            text[: found.start("language")].count("\n") + 1,
        )
        for found in _FENCE.finditer(text)
    ]


def section(page: Path, heading: str) -> str:
    """Returns what stands under a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    pattern = rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)"
    found = re.search(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no heading {heading!r}"
    return found[1]
