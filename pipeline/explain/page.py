"""One self-contained HTML page about one video: pictures and style inside, nothing loaded from anywhere."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.eval.metrics import softmax
from pipeline.explain.curve import draw_curve
from pipeline.explain.explanation import Explanation, best

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f6f7f9; --ink: #1c1e22; --soft: #5c626d; --rule: #dcdfe4;
  --line: #1f5fbf; --line2: #b4501e; --truth: #177d56; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --card: #1e2125; --ink: #e9ebee; --soft: #a2a9b4;
  --rule: #353a41; --line: #7fb0ff; --line2: #f2a46f; --truth: #4fc795; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; }
.soft { color: var(--soft); fill: var(--soft); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--rule); font-weight: 400;
  vertical-align: top; }
thead th { color: var(--soft); } td.number, th.number { text-align: right; white-space: nowrap; }
tr.true th { font-weight: 600; }
meter { width: 8rem; height: .8rem; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
figure img { display: block; max-width: 100%; height: auto; border: 1px solid var(--rule); border-radius: 6px; }
.wide { overflow-x: auto; }
svg { width: 100%; height: auto; background: var(--card); border-radius: 6px; font: 12px system-ui, sans-serif; }
.axis { fill: var(--ink); } .axis.soft { fill: var(--soft); } .grid { stroke: var(--rule); }
.truth { fill: var(--truth); opacity: .22; } .line { fill: none; stroke: var(--line); stroke-width: 2; }
.dot { fill: var(--line); } .line.even { stroke: var(--line2); } .dot.even { fill: var(--line2); }
details { margin: .75rem 0; } summary { cursor: pointer; } summary:focus-visible { outline: 2px solid var(--line); }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1.25rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } .bar { display: none; }
  .wide svg, .wide img { min-width: 44rem; } }
"""


@dataclass(frozen=True)
class Pictures:
    """What was drawn of one window."""

    strip_HWC: npt.NDArray[np.uint8]
    animation: bytes
    form: Literal["gif", "webp"]
    """Of the animation."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One video explained: its windows in time order, their pictures, and what was used to explain it."""

    title: str
    windows: tuple[Explanation, ...]
    pictures: tuple[Pictures, ...]
    """One for each window."""
    provenance: Mapping[str, str]
    """Name and value of everything that a reader needs to repeat the page: model, protocol, passport, checkpoint."""


def render_page(report: Report) -> str:
    """Return the page as HTML text; every image is a data URI and no address is fetched."""
    first = report.windows[0]
    scores_K = np.mean([window.scores for window in report.windows], axis=0)
    att_scores_K = np.mean([softmax(window.att_logits_K) for window in report.windows], axis=0)
    body = [
        f"<header><h1>{escape(report.title)}</h1>{_verdict(first, scores_K, len(report.windows))}</header><main>",
        f"<section><h2>Scores</h2>{_scores(first, scores_K, att_scores_K)}</section>",
        f"<section><h2>Temporal attention</h2>{_curve(report.windows)}</section>",
        "<section><h2>Frames</h2>",
        *(_window(number, report) for number in range(1, len(report.windows) + 1)),
        "</section>",
        f"<section><h2>Model and protocol</h2>{definitions(report.provenance)}</section></main>",
    ]
    return document(f"{report.title}: what the network attended to", "".join(body))


def document(title: str, body: str, style: str = "") -> str:
    """Return a whole page that loads nothing, neither from elsewhere nor from beside it, and runs nothing.

    Args:
        title: plain text.
        body: HTML, escaped already.
        style: CSS after the style that all pages share.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>{body}</body></html>\n"
    )


def png(pixels_HWC: npt.NDArray[np.uint8]) -> bytes:
    """Encode RGB pixels as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "png")
    return buffer.getvalue()


def webp(pixels_HWC: npt.NDArray[np.uint8]) -> bytes:
    """Encode RGB pixels as WebP, a fifth of a strip's PNG and close to it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "webp", quality=88, method=4)
    return buffer.getvalue()


def describe(window: Explanation) -> str:
    """Say in words what a strip shows: where temporal attention is high, and where spatial attention peaks there."""
    t = int(np.where(window.valid_T, window.temporal_T, -1.0).argmax())
    height, width = window.spatial_THW.shape[1:]
    row, column = divmod(int(window.spatial_THW[t].argmax()), width)
    return (
        f"Frames {window.idx_T[0]} to {window.idx_T[-1]} of {window.source}. Temporal attention is highest, "
        f"{window.temporal_T[t]:.2f}, at frame {window.idx_T[t]} ({window.seconds[t]:.2f} s), where spatial "
        f"attention peaks {_place((row + 0.5) / height, ('top', 'middle', 'bottom'))} "
        f"{_place((column + 0.5) / width, ('left', 'centre', 'right'))}; its mean over the clip is "
        f"{window.temporal_T[window.valid_T].mean():.2f}."
    )


def _place(share: float, names: tuple[str, str, str]) -> str:
    return names[min(2, int(share * 3))]


def data_uri(content: bytes, form: str) -> str:
    """Return an image that is part of the page; `form` is png, webp, gif."""
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"


def _verdict(first: Explanation, scores_K: npt.NDArray[np.floating], windows: int) -> str:
    winner = best(scores_K.astype(np.float32), 1)[0]
    over = "one window" if windows == 1 else f"the mean of {windows} windows"
    text = f"Predicted <strong>{escape(first.classes[winner])}</strong>, score {scores_K[winner]:.3f} ({over})."
    if first.label is not None:
        right = (
            "Correct."
            if winner == first.label
            else f"Wrong: it is <strong>{escape(first.classes[first.label])}</strong>."
        )
        text += f" {right}"
    return f"<p>{text}</p>"


def _scores(first: Explanation, scores_K: npt.NDArray[np.floating], att_scores_K: npt.NDArray[np.floating]) -> str:
    shown = best(scores_K.astype(np.float32))
    if first.label is not None and first.label not in shown:
        shown.append(first.label)
    rows = []
    for k in shown:
        true = k == first.label
        rows.append(
            f'<tr{" class=true" if true else ""}><th scope="row">{escape(first.classes[k])}'
            f"{' (true class)' if true else ''}</th>"
            f'<td class="bar"><meter min="0" max="1" value="{scores_K[k]:.4f}" aria-hidden="true"></meter></td>'
            f'<td class="number">{scores_K[k]:.4f}</td><td class="number">{att_scores_K[k]:.4f}</td></tr>'
        )
    return (
        f'<div class="wide"><table><caption>The best classes, and the true one. The perception branch predicts; the '
        'attention branch is shown for comparison.</caption><thead><tr><th scope="col">class</th><td class="bar"></td>'
        '<th scope="col" class="number">perception</th><th scope="col" class="number">attention branch</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _curve(windows: Sequence[Explanation]) -> str:
    description = " ".join(describe(window) for window in windows)
    shading = " Shaded frames hold the action, by the known truth." if windows[0].active_T is not None else ""
    return (
        f'<figure><div class="wide">{draw_curve(windows, description)}</div><figcaption>Raw sigmoid value of each '
        f"frame, over frame number and time; one line a window.{shading} Values at the two ends of a window lean on "
        f"zero padding in time.</figcaption></figure>{_values(windows)}"
    )


def _values(windows: Sequence[Explanation]) -> str:
    rows = [
        f'<tr><td class="number">{number}</td><td class="number">{window.idx_T[t]}</td>'
        f'<td class="number">{window.seconds[t]:.3f}</td><td class="number">{window.temporal_T[t]:.4f}</td></tr>'
        for number, window in enumerate(windows, start=1)
        for t in window.valid_T.nonzero()[0]
    ]
    heads = "".join(f'<th scope="col" class="number">{h}</th>' for h in ("window", "frame", "seconds", "attention"))
    return (
        "<details><summary>The values as a table</summary><table><caption>Temporal attention of each frame; padding is "
        f"left out.</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></details>"
    )


def _window(number: int, report: Report) -> str:
    window, pictures = report.windows[number - 1], report.pictures[number - 1]
    alt = escape(describe(window))
    strip = data_uri(webp(pictures.strip_HWC), "webp")
    motion = data_uri(pictures.animation, pictures.form)
    return (
        f"<h3>Window {number} of {len(report.windows)}: frames {window.idx_T[0]} to {window.idx_T[-1]}</h3>"
        f'<figure><div class="wide"><img src="{strip}" alt="{alt}"></div>'
        "<figcaption>Above each frame its temporal attention; below it the frame under its spatial attention. "
        "Red is high, blue is low.</figcaption></figure>"
        f"<details><summary>Play window {number}</summary><figure>"
        f'<img src="{motion}" alt="Animation. {alt}"></figure></details>'
    )


def definitions(values: Mapping[str, str]) -> str:
    """Return names and values as a list; both are plain text."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in values.items()) + "</dl>"
