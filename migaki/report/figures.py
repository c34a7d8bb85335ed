"""Figures in one style, as bytes: curves, error curves, sheets of images, matrices, scatters, bars.

Every function returns the file's content, PNG or SVG, and draws on its own canvas. It changes matplotlib's settings
while it draws and restores them afterwards, so make figures from one thread at a time. The colours are safe for
colour-blind readers (Okabe and Ito 2008). Backgrounds are white, so that figures are legible on a dark page too.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from migaki.core.errors import UserError
from migaki.report.statistics import FEWEST, spread

if TYPE_CHECKING:  # importing matplotlib takes half a second, and most runs do not draw at once
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["png", "svg"]
Values = npt.ArrayLike

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3B3B3B", "#8C6D31")
"""The colour of arm 0, 1, ...; they repeat with dashes after the eighth."""

_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333", "xtick.color": "#555555", "ytick.color": "#555555", "text.color": "#222222",
    "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.8, "axes.axisbelow": True,
    "legend.frameon": False, "lines.linewidth": 1.8, "svg.fonttype": "path", "svg.hashsalt": "migaki",
    # Names come from users' folders: a dollar sign in a name does not start a formula.
    "text.parse_math": False,
}


def style() -> AbstractContextManager[None]:
    """Use the project's matplotlib style within a `with` block."""
    import matplotlib as mpl

    return mpl.rc_context(_STYLE)


def training_curves(rows: Iterable[Mapping[str, Any]], *, keys: Sequence[str] | None = None, x: str = "step",
                    points: Sequence[str] = (), smooth: int = 1, fmt: Format = "png") -> bytes:
    """Plot scalars of a run over its steps, one panel per network (the part of the key before "/").

    `rows` are those of metrics.jsonl; a row may lack any key, and None or NaN leaves a gap. `keys` selects and orders
    the curves (default: every number except `x`); those in `points` are drawn without a line. `smooth` is the number of
    values of the moving average; the raw curve stays visible behind it. Raises UserError if no row holds a number.
    """
    rows = [row for row in rows if _is_number(row.get(x))]
    found = keys or list(dict.fromkeys(key for row in rows for key in row if key != x and _is_number(row[key])))
    panels: dict[str, list[str]] = {}
    for key in found:
        panels.setdefault(key.split("/")[0] if "/" in key else key, []).append(key)
    if not rows or not panels:
        raise UserError(f"training curves: no row holds a number beside '{x}'")
    columns = min(3, len(panels))
    height = -(-len(panels) // columns)
    with style():
        figure, axes = _canvas(4.0 * columns, 2.7 * height, height, columns)
        for axis, (title, names) in zip(axes, panels.items(), strict=False):
            for number, name in enumerate(names):
                pairs = [(row[x], row[name]) for row in rows if _is_number(row.get(name))]
                label = name.split("/", 1)[-1]
                if name in points:
                    axis.plot([at for at, _ in pairs], [value for _, value in pairs], "o", label=label,
                              color=_line(number)["color"])
                else:
                    _smoothed(axis, pairs, smooth, number, label)
            axis.set(title=title, xlabel=x)
            if len(names) > 1:
                axis.legend(fontsize=8)
        for axis in axes[len(panels):]:
            axis.set_visible(False)
        return _bytes(figure, fmt)


def error_curves(arms: Mapping[str, Values], *, limit: float = 30.0, mark: float | None = 7.0,
                 xlabel: str = "angular error in degrees", ylabel: str = "images in per cent",
                 fmt: Format = "png") -> bytes:
    """Plot cumulative error curves: the share of images whose error is at most x, one line per arm.

    `arms` maps a name to its errors, (N,) or (R, N) for several runs. The line is the exact empirical distribution of
    all errors; its value at `mark` is the mean of the runs' shares, as given in the legend and in tables.
    Source: Shrivastava et al., CVPR 2017, section 3.1.
    """
    with style():
        figure, (axis,) = _canvas(6.6, 3.8 + 0.22 * len(arms))
        for number, (name, values) in enumerate(arms.items()):
            runs = np.atleast_2d(np.asarray(values, dtype=float))
            errors = np.sort(runs.ravel())
            if not len(errors) or np.isnan(errors).any():
                raise UserError(f"error curves: arm '{name}' has no errors or one that is not a number")
            share = np.arange(1, len(errors) + 1) / len(errors)
            label = name if mark is None else f"{name}: {share_text(runs, mark)} % within {mark:g}"
            axis.step(np.r_[0, errors, max(limit, errors[-1])], 100 * np.r_[0, share, 1], where="post",
                      label=label, **_line(number))
        if mark is not None:
            axis.axvline(mark, color="#999999", linewidth=1, linestyle=":")
        axis.set(xlim=(0, limit), ylim=(0, 101), xlabel=xlabel, ylabel=ylabel)
        if arms:  # the legend goes below: inside it would hide curves, and beside them it is too small on a phone
            axis.legend(loc="upper left", bbox_to_anchor=(0, -0.16), fontsize=9)
        return _bytes(figure, fmt)


def share_text(runs: Values, mark: float) -> str:
    """Returns the percentage of errors (R, N) within `mark`, the mean over the runs, formatted as in a table."""
    return spread(100 * (np.atleast_2d(runs) <= mark).mean(axis=1), places=1).mean_text


def scatter(truth: Values, predicted: Values, *, unit: str = "degrees", title: str = "", max_points: int = 5000,
            fmt: Format = "png") -> bytes:
    """Plot prediction against truth, identity and least-squares line; at most `max_points`, drawn by a fixed seed."""
    x, y = np.asarray(truth, dtype=float).ravel(), np.asarray(predicted, dtype=float).ravel()
    if x.shape != y.shape or not len(x):
        raise UserError(f"scatter: {len(y)} predictions for {len(x)} true values")
    with style():
        figure, (axis,) = _canvas(4.4, 4.4)
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        margin = 0.05 * (high - low) or 1.0
        ends = np.array([low - margin, high + margin])
        shown = np.random.default_rng(0).permutation(len(x))[:max_points]
        axis.scatter(x[shown], y[shown], s=9, alpha=0.35, color=COLOURS[0], linewidths=0)
        axis.plot(ends, ends, color="#888888", linewidth=1, linestyle="--", label="identity")
        if np.ptp(x) > 0:
            slope, offset = np.polyfit(x, y, 1)
            axis.plot(ends, slope * ends + offset, color=COLOURS[1], label=f"slope {slope:.2f}, at zero {offset:+.2f}")
        axis.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"truth in {unit}", ylabel=f"prediction in {unit}",
                 title=title)
        axis.legend(fontsize=8, loc="upper left")
        return _bytes(figure, fmt)


def bars(arms: Mapping[str, Values], *, xlabel: str = "", title: str = "", places: int | None = None,
         fmt: Format = "png") -> bytes:
    """Plot each arm's mean as a bar, each run as a dot, and the standard deviation of three or more runs as a whisker.

    `arms` maps a name to the figures of its runs (R,). `places` is the number of decimals of the means, see `spread`.
    Bars are horizontal, so that long names stay legible in a small figure.
    """
    with style():
        figure, (axis,) = _canvas(6.6, 0.9 + 0.42 * max(2, len(arms)))
        for number, (name, values) in enumerate(arms.items()):
            runs = np.asarray(values, dtype=float).ravel()
            if not len(runs):
                raise UserError(f"bars: arm '{name}' has no figures")
            axis.barh(number, runs.mean(), height=0.66, color=COLOURS[number % len(COLOURS)], alpha=0.75)
            if len(runs) >= FEWEST:
                axis.errorbar(runs.mean(), number, xerr=runs.std(ddof=1), color="#333333", capsize=4, linewidth=1.4)
            if len(runs) > 1:
                place = number + np.linspace(-0.16, 0.16, len(runs))
                axis.scatter(runs, place, s=14, color="white", edgecolors="#333333", linewidths=0.8, zorder=3)
            axis.annotate(spread(runs, places).mean_text, (runs.mean() / 2, number), ha="center", va="center",
                          color="white", weight="bold")
        axis.set_yticks(range(len(arms)), list(arms))
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.set(xlabel=xlabel, title=title)
        return _bytes(figure, fmt)


def confusion(matrix: Values, names: Sequence[str] | None = None, *, fmt: Format = "png") -> bytes:
    """Plot a confusion matrix (K, K) of counts, rows truth, columns prediction; shaded by the share of the row."""
    counts = np.asarray(matrix, dtype=float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise UserError(f"confusion matrix: it must be square, got {counts.shape}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = list(names) if names is not None else [str(k) for k in range(len(counts))]
    with style():
        side = max(3.2, 0.48 * len(counts) + 1.2)
        figure, (axis,) = _canvas(side, side)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column]:
                axis.text(column, row, f"{counts[row, column]:g}", ha="center", va="center", fontsize=8,
                          color="white" if shares[row, column] > 0.55 else "#333333")
        is_long = max(map(len, labels)) > 4  # such names would run into each other
        axis.set_xticks(range(len(labels)), labels, rotation=45 if is_long else 0, ha="right" if is_long else "center")
        axis.set_yticks(range(len(labels)), labels)
        axis.grid(visible=False)
        axis.set(xlabel="predicted", ylabel="true")
        return _bytes(figure, fmt)


def _canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _bytes(figure: Figure, fmt: Format) -> bytes:
    buffer = io.BytesIO()
    # Without the date, equal figures give equal bytes.
    figure.savefig(buffer, format=fmt, dpi=150, metadata={"Date": None} if fmt == "svg" else {"Software": None})
    return buffer.getvalue()


def _line(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": ("-", "--", ":")[number // len(COLOURS) % 3]}


def _smoothed(axis: Axes, pairs: list[tuple[float, float]], smooth: int, number: int, label: str) -> None:
    if not pairs:
        return
    steps, values = np.array(pairs, dtype=float).T
    width = min(smooth, len(values))
    if width > 1:
        axis.plot(steps, values, alpha=0.25, **{**_line(number), "linewidth": 1})
        values = np.convolve(values, np.ones(width) / width, mode="valid")
        steps = np.convolve(steps, np.ones(width) / width, mode="valid")
    axis.plot(steps, values, label=label, marker="o" if len(values) == 1 else "", **_line(number))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
