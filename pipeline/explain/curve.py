"""Temporal attention over a video as an inline SVG, styled by the page that holds it."""

from collections.abc import Sequence
from html import escape

from pipeline.explain.explanation import Explanation

WIDTH, HEIGHT = 920, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 46


def draw_curve(windows: Sequence[Explanation], description: str) -> str:
    """Draw every window's temporal attention over the video's frame numbers.

    Padding is left out: it stands for no moment of the video. Where the truth is known its active frames are shaded.

    Args:
        windows: explanations of clips of one video.
        description: what the drawing shows, for readers who do not see it.

    Returns:
        An `<svg>` element with classes axis, grid, truth, line, dot for the page's style sheet.
    """
    first = min(int(w.idx_T[w.valid_T].min()) for w in windows)
    last = max(int(w.idx_T[w.valid_T].max()) for w in windows)
    fps = windows[0].fps

    def x(frame: float) -> float:
        return LEFT + (frame - first) / max(1, last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1.0 - value) * (HEIGHT - TOP - BOTTOM)

    parts = [f"<title>Temporal attention</title><desc>{escape(description)}</desc>"]
    for left, right in _active_spans(windows):
        parts.append(
            f'<rect class="truth" x="{x(left - 0.5):.1f}" y="{y(1):.1f}" '
            f'width="{x(right + 0.5) - x(left - 0.5):.1f}" height="{y(0) - y(1):.1f}"/>'
        )
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = y(level)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="axis" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{level:g}</text>')
    for frame in _ticks(first, last):
        place = f'x="{x(frame):.1f}" text-anchor="middle"'
        parts += [f'<text class="axis" {place} y="{HEIGHT - 26}">{frame}</text>']
        parts += [f'<text class="axis soft" {place} y="{HEIGHT - 8}">{frame / fps:.1f} s</text>']
    for number, window in enumerate(windows, start=1):
        shown = window.valid_T.nonzero()[0]
        points = [(x(float(window.idx_T[t])), y(float(window.temporal_T[t]))) for t in shown]
        even = "" if number % 2 else " even"  # neighbours overlap where the last window was moved back
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline class="line{even}" points="{line}"/>')
        for t, (px, py) in zip(shown, points, strict=True):
            tip = f"window {number}, frame {window.idx_T[t]}: {window.temporal_T[t]:.3f}"
            parts.append(f'<circle class="dot{even}" cx="{px:.1f}" cy="{py:.1f}" r="3"><title>{tip}</title></circle>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">{"".join(parts)}</svg>'


def _active_spans(windows: Sequence[Explanation]) -> list[tuple[int, int]]:
    """Runs of sampled frames that are active by the known truth, as (first, last) video frames."""
    truth: dict[int, bool] = {}
    for window in windows:
        if window.active_T is not None:
            truth |= {int(i): bool(a) for i, a in zip(window.idx_T, window.active_T, strict=True)}
    spans: list[tuple[int, int]] = []
    open_at: int | None = None
    previous = 0
    for frame, active in sorted(truth.items()):
        if active and open_at is None:
            open_at = frame
        if not active and open_at is not None:
            spans.append((open_at, previous))
            open_at = None
        previous = frame
    return spans if open_at is None else [*spans, (open_at, previous)]


def _ticks(first: int, last: int) -> list[int]:
    """At most a dozen frame numbers, on a round step."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if (last - first) / s <= 11)
    return list(range(-(-first // step) * step, last + 1, step)) or [first]
