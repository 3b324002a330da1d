"""Draw the chart of the bench as SVG: one panel for each size, one bar for each contender."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Bars = Sequence[tuple[str, float, str]]

WIDTH, LABELS, RIGHT = 820, 250, 90
BAR, GAP, HEAD, TOP = 20, 8, 34, 46
COLOURS = {"ours": "#1f6feb", "other": "#8b949e", "limit": "#2da44e"}


def bar_chart(title: str, panels: Sequence[tuple[str, Bars]]) -> str:
    """Return an SVG.

    :param panels: title and bars of each; a bar is its label, seconds and kind (a key of COLOURS). Each panel has a
        scale that starts at zero.
    """
    parts: list[str] = []
    top = TOP
    for heading, bars in panels:
        parts.append(_text(16, top + 14, heading, weight="bold"))
        top += HEAD
        longest = max((seconds for _, seconds, _ in bars), default=1.0) or 1.0
        for label, seconds, kind in bars:
            width = max(1.0, (WIDTH - LABELS - RIGHT) * seconds / longest)
            middle = top + BAR * 0.72
            parts.append(_text(LABELS - 10, middle, label, anchor="end"))
            parts.append(
                f'<rect x="{LABELS}" y="{top}" width="{width:.1f}" height="{BAR}" rx="2" fill="{COLOURS[kind]}"/>'
            )
            parts.append(_text(LABELS + width + 8, middle, f"{seconds:,.1f} s"))
            top += BAR + GAP
        top += GAP * 2
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
        f' role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13">'
    )
    background = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, background, _text(16, 26, title, weight="bold", size=16), *parts, "</svg>", ""])


def _text(x: float, y: float, content: str, *, anchor: str = "start", weight: str = "normal", size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" font-size="{size}"'
        f' fill="#1f2328">{escape(content)}</text>'
    )
