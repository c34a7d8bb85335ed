"""The result of a visual Turing test: tables as JSON, and one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import itertools
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from migaki.core.files import make_folder, write_json, write_text
from migaki.web.binomial import Confusion, wilson_interval
from migaki.web.observer import read_comparison
from migaki.web.sittings import Record, Sittings
from migaki.web.stimuli import encode_png

PAPER: dict[str, Any] = {
    "source": "Shrivastava et al., CVPR 2017, visual Turing test, arXiv:1612.07828",
    "refined": {"people": 10, "p_printed": "0.148",
                **Confusion(real_said_real=224, real_said_fake=276, fake_said_real=207, fake_said_fake=293).summary()},
    "unrefined": {"right": 162, "total": 200, "accuracy": 0.81, "p_printed": "< 1e-8"},
}
"""The published figures. Those that the paper does not print are computed from its counts."""

NUM_MISTAKEN = 12
"""Images shown among the most mistaken ones."""

_VERDICTS = {
    "better": "Real and fake were distinguished more often than by guessing.",
    "guessing": "That is not distinguishable from guessing.",
    "worse": "That is worse than guessing: real and fake were distinguished, but the wrong way round; fakes were "
             "judged real more often than real images were.",
}


def tables(sittings: Sittings) -> dict[str, Any]:
    """Returns all figures, ready for JSON.

    The pooled figures count the people who finished. Unfinished sittings are listed but not pooled, since people who
    stop may differ from those who continue. Machines are never pooled with people.
    """
    records = sittings.records()
    people = [record for record in records if not record.is_machine]
    finished = [record for record in people if record.is_finished]
    return {
        "settings": {name: value for name, value in sittings.settings.items() if name != "results_key"},
        "warnings": list(sittings.stimuli().warnings),
        "num_people": len(finished),
        "num_unfinished": len(people) - len(finished),
        "pooled": _pool(finished),
        "people": [_person(record) for record in people],
        "machines": [_person(record) for record in records if record.is_machine],
        "most_mistaken": _most_mistaken(sittings, finished),
        "paper": PAPER,
    }


def _pool(records: list[Record]) -> dict[str, Any]:
    answers = (answer for record in records for answer in record.answers)
    return Confusion.count((answer.is_real, answer.said_real) for answer in answers).summary()


def _person(record: Record) -> dict[str, Any]:
    times = [record.begun_at, *(answer.answered_at for answer in record.answers)]
    pace = statistics.median(b - a for a, b in itertools.pairwise(times)) if len(times) > 1 else None
    return {"code": record.code, "finished": record.is_finished, "num_images": record.total,
            "median_seconds": None if pace is None or record.is_machine else round(pace, 1), **_pool([record])}


def _most_mistaken(sittings: Sittings, records: list[Record]) -> list[dict[str, Any]]:
    """Returns the images that were most often misjudged by the people who finished."""
    seen: Counter[int] = Counter()
    wrong: Counter[int] = Counter()
    for record in records:
        for answer in record.answers:
            seen[answer.image] += 1
            wrong[answer.image] += answer.said_real != answer.is_real
    stimuli = sittings.stimuli().stimuli
    order = sorted((image for image in wrong if wrong[image]), key=lambda image: (-wrong[image] / seen[image], image))
    return [{"image": image, "file_name": stimuli[image].name, "is_real": stimuli[image].is_real,
             "wrong": wrong[image], "shown": seen[image]} for image in order[:NUM_MISTAKEN]]


def write_report(sittings: Sittings, out: Path) -> Path:
    """Write `turing.json` and `report.html` into `out`; returns the page's path."""
    make_folder(out)
    write_json(out / "turing.json", tables(sittings) | {"observer": read_comparison(out)})
    page = out / "report.html"
    write_text(page, html_report(sittings, read_comparison(out)))
    return page


def html_report(sittings: Sittings, observed: dict[str, Any] | None = None) -> str:
    """Returns the figures as one page that fetches nothing: images are embedded, and no script runs.

    `observed` is what `observer.read_comparison` returns.
    """
    found = tables(sittings)
    pooled = found["pooled"]
    parts = [f"<h1>Visual Turing test</h1>{_lead(found)}"]
    parts += [f'<p class="warning">{html.escape(text)}.</p>' for text in found["warnings"]]
    if pooled["total"]:
        parts += ["<h2>All people together</h2>", "<div class=beside>", _confusion_table(pooled, "Here"),
                  _confusion_table(PAPER["refined"], "In the paper, refined eyes"), "</div>", _figures(pooled)]
    for machine in found["machines"]:
        parts += [f"<h2>Machine observer: {html.escape(machine['code'])}</h2>",
                  "<p>A small classifier, trained on other images of the same two folders, took the same test.</p>",
                  _confusion_table(machine, ""), _figures(machine)]
    parts += _observed(observed) if observed and observed["figures"] else []
    parts += ["<h2>Accuracy</h2>", _accuracy_table(found)]
    if found["most_mistaken"]:
        parts += ["<h2>Most mistaken images</h2>", _gallery(sittings, found["most_mistaken"])]
    return _TEMPLATE.format(style=_STYLE, body="\n".join(parts))


_OBSERVED = {"refined": "the fakes", "unrefined": "the fakes before refining",
             "photographs_halved": "photographs against photographs"}


def _observed(found: dict[str, Any]) -> list[str]:
    """Returns how well a small CNN tells each set from photographs that it has not seen."""
    rows = "".join(f"<tr><th scope=row>{_OBSERVED.get(name, html.escape(name))}</th>"
                   f"<td>{_percent(one['told_apart'])}</td><td>± {_percent(one['error'])}</td></tr>"
                   for name, one in found["figures"].items())
    said = "".join(f"<p>{html.escape(line)}</p>" for line in found["verdicts"])
    return ["<h3>The same classifier on held-out halves</h3>",
            "<p>A small CNN learns from half of both sets and judges the other half, then the other way round: 50 % is "
            "chance. Photographs against photographs is what it finds where there is nothing to find.</p>",
            "<div class=wide><table><thead><tr><td></td><th scope=col>told from photographs</th>"
            f"<th scope=col>standard error</th></tr></thead><tbody>{rows}</tbody></table></div>{said}"]


def _lead(found: dict[str, Any]) -> str:
    pooled, unfinished = found["pooled"], found["num_unfinished"]
    rest = (f" {unfinished} unfinished {_plural(unfinished, 'sitting is', 'sittings are')} not counted."
            if unfinished else "")
    if not pooled["total"]:
        return f'<p class="lead">Nobody has finished the test yet.{rest}</p>'
    people = found["num_people"]
    low, high = pooled["wilson_95"]
    # If nearly all answers are wrong, the one-sided p is 1. The verdict "worse" rests on the two-sided p.
    p = (f"p\u00a0=\u00a0{_p(pooled['p_two_sided'])} two-sided" if pooled["verdict"] == "worse" else
         f"p\u00a0=\u00a0{_p(pooled['p_one_sided'])}")
    return (f'<p class="lead">{people} {_plural(people, "person", "people")}, {pooled["total"]} answers: '
            f'<b>{_percent(pooled["accuracy"])}</b> right (95 % interval {_percent(low)} to {_percent(high)}, '
            f'{p}). {_VERDICTS[pooled["verdict"]]}{rest}</p>')


def _confusion_table(summary: dict[str, Any], caption: str) -> str:
    rows = []
    for truth, name in (("real", "Real"), ("fake", "Not real")):
        cells = summary["confusion"][truth]
        total = sum(cells.values()) or 1
        rows.append(f"<tr><th scope=row>{name}</th>" + "".join(
            f'<td{" class=right" if kind == "said_" + truth else ""}>{cells[kind]}'
            f"<small>{_percent(cells[kind] / total)}</small></td>" for kind in ("said_real", "said_fake")) + "</tr>")
    title = f"<caption>{caption}</caption>" if caption else ""
    return (f"<table class=confusion>{title}<thead><tr><td></td>"
            "<th scope=col>said real</th><th scope=col>said not real</th>"
            f"</tr></thead><tbody>{''.join(rows)}</tbody></table>")


def _figures(summary: dict[str, Any]) -> str:
    low, high = summary["wilson_95"]
    return (f"<p>{summary['right']} of {summary['total']} right: {_percent(summary['accuracy'])}, Wilson 95 % interval "
            f"{_percent(low)} to {_percent(high)}; exact binomial test against guessing: "
            f"p\u00a0=\u00a0{_p(summary['p_one_sided'])} one-sided, {_p(summary['p_two_sided'])} two-sided.</p>")


def _accuracy_table(found: dict[str, Any]) -> str:
    rows = [_accuracy_row(f"Person {person['code']}" + ("" if person["finished"] else " (unfinished)"), person,
                          person["median_seconds"]) for person in found["people"]]
    if found["pooled"]["total"]:
        rows.append(_accuracy_row("All who finished", found["pooled"], None, "sum"))
    rows += [_accuracy_row(machine["code"].capitalize(), machine, None) for machine in found["machines"]]
    for kind, name in (("refined", "Paper, refined"), ("unrefined", "Paper, unrefined")):
        published = PAPER[kind]
        low, high = wilson_interval(published["right"], published["total"])
        rows.append(f"<tr class=paper><th scope=row>{name}</th><td>{published['right']} / {published['total']}</td>"
                    f"<td>{_percent(published['accuracy'])}</td><td>{_percent(low)} – {_percent(high)}</td>"
                    f"<td>{html.escape(published['p_printed'])}</td><td></td></tr>")
    return ("<div class=wide><table><thead><tr><td></td><th scope=col>right</th><th scope=col>accuracy</th>"
            "<th scope=col>95 % interval</th><th scope=col>p</th><th scope=col>s / image</th></tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div><p class=note>p: exact binomial test against guessing, "
            f"one-sided as in the paper (so near 1 where nearly all is wrong). Unfinished sittings are not pooled. "
            f"Paper: {html.escape(PAPER['source'])}.</p>")


def _accuracy_row(name: str, summary: dict[str, Any], seconds: float | None, kind: str = "") -> str:
    low, high = summary["wilson_95"]
    accuracy = "" if summary["accuracy"] is None else _percent(summary["accuracy"])
    return (f'<tr class="{kind}"><th scope=row>{html.escape(name)}</th><td>{summary["right"]} / {summary["total"]}</td>'
            f"<td>{accuracy}</td><td>{_percent(low)} – {_percent(high)}</td><td>{_p(summary['p_one_sided'])}</td>"
            f"<td>{'' if seconds is None else seconds}</td></tr>")


def _gallery(sittings: Sittings, mistaken: list[dict[str, Any]]) -> str:
    stimuli = sittings.stimuli().stimuli
    figures = []
    for entry in mistaken:
        data = base64.b64encode(encode_png(stimuli[entry["image"]].pixels)).decode()
        truth, taken = ("real", "not real") if entry["is_real"] else ("not real", "real")
        figures.append(
            f'<figure><img src="data:image/png;base64,{data}" alt=""><figcaption>{truth}, taken for {taken} by '
            f"{entry['wrong']} of {entry['shown']}<small>{html.escape(entry['file_name'])}</small>"
            "</figcaption></figure>")
    return f"<div class=gallery>{''.join(figures)}</div>"


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


_STYLE = """
:root { color-scheme: light dark; --ink: #23262b; --soft: #646a73; --paper: #f7f6f3; --line: #dcdad4;
  --good: #dcebe1; --note: #f3e6c8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e3df; --soft: #9b9fa6; --paper: #17191c; --line: #34373c;
  --good: #223a2d; --note: #3d3420; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.25rem 5rem; max-width: 54rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, sans-serif; }
h1 { font-size: 1.9rem; font-weight: 600; letter-spacing: -0.01em; margin: 0 0 0.75rem; }
h2 { font-size: 1.15rem; font-weight: 600; margin: 2.75rem 0 0.75rem; }
.lead { font-size: 1.15rem; max-width: 42rem; }
.warning { background: var(--note); padding: 0.6rem 0.9rem; border-radius: 0.5rem; }
.note, small, figcaption small { color: var(--soft); font-size: 0.85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.45rem 1.1rem 0.45rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 500; } tbody th { text-align: left; } thead th { color: var(--soft); font-size: 0.85rem; }
.wide table { width: 100%; }
tr.sum th, tr.sum td { font-weight: 650; } tr.paper th, tr.paper td { color: var(--soft); }
.confusion td, .confusion th { padding: 0.7rem 1.25rem; } .confusion tbody th { padding-left: 0; }
.confusion td small { display: block; } .confusion td.right { background: var(--good); }
.beside { display: flex; flex-wrap: wrap; gap: 1rem 4rem; }
caption { text-align: left; color: var(--soft); font-size: 0.9rem; padding-bottom: 0.25rem; }
@media (max-width: 34rem) { .wide th, .wide td { padding-right: 0.7rem; font-size: 0.85rem; }
  .wide tbody th { white-space: normal; min-width: 6rem; } .confusion { width: 100%; } }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1.25rem; }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 0.4rem; background: #808080; }
figcaption { font-size: 0.85rem; line-height: 1.4; margin-top: 0.4rem; }
figcaption small { display: block; overflow-wrap: anywhere; }
"""

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Visual Turing test: results</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
