"""Curves of accuracy over the number of labels: a drawing, and how many labels one curve saves against another."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from migaki.report.figures import COLOURS, style


def label_curves(counts: Sequence[int], curves: Mapping[str, npt.ArrayLike],
                 levels: Mapping[str, float] | None = None) -> bytes:
    """Draw accuracies in per cent over the number of labels, on a logarithmic axis, as PNG.

    `curves` maps a name to the repetitions (R, number of counts); the mean is drawn, and between the lowest and the
    highest a band. `levels` are drawn as dotted lines: what all labels reach, or what costs nothing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second that most commands do not need
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(6.8, 4.2), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        for number, (name, values) in enumerate(curves.items()):
            table, colour = np.atleast_2d(np.asarray(values, dtype=float)), COLOURS[number % len(COLOURS)]
            axis.plot(counts, table.mean(0), marker="o", color=colour, label=name,
                      linestyle="-" if number < len(COLOURS) else "--")
            axis.fill_between(counts, table.min(0), table.max(0), color=colour, alpha=0.12, linewidth=0)
        for name, level in (levels or {}).items():
            axis.axhline(level, color="#666666", linestyle=":", linewidth=1.2)
            axis.annotate(name, (counts[0], level), xytext=(0, 2), textcoords="offset points", fontsize=8)
        axis.set_xscale("log")
        axis.set_xticks(list(counts), [f"{count:,}" for count in counts])
        axis.minorticks_off()
        axis.set(xlabel="labels", ylabel="accuracy, %")
        axis.legend(fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        return buffer.getvalue()


def labels_needed(counts: Sequence[int], accuracies: Sequence[float], wanted: float) -> float:
    """The number of labels with which a curve reaches the accuracy `wanted`, between its points by log of the number.

    The curve is taken as its highest value so far, since more labels do no harm in the long run. `math.inf` where it
    does not reach it, the first number where it begins above it.
    """
    best = np.maximum.accumulate(np.asarray(accuracies, dtype=float))
    if best[0] >= wanted:
        return float(counts[0])
    for k in range(1, len(counts)):
        if best[k] >= wanted:
            share = (wanted - best[k - 1]) / (best[k] - best[k - 1])
            return math.exp((1 - share) * math.log(counts[k - 1]) + share * math.log(counts[k]))
    return math.inf


def needed_text(needed: float, counts: Sequence[int]) -> str:
    """A number of labels in words, to two digits: "about 260", "more than 1,000", "40 or fewer"."""
    if math.isinf(needed):
        return f"more than {counts[-1]:,}"
    if needed <= counts[0]:
        return f"{counts[0]:,} or fewer"
    return f"about {float(f'{needed:.2g}'):,.0f}"
