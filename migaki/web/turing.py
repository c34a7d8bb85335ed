"""The visual Turing test as a web page: can people tell the refined images from real ones?

People see one image at a time and say "real" or "not real". Their answers land in one SQLite file in `out`, which is
the whole state of the test: stop and start the server as often as you like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.web import guard, observer, turing_report
from migaki.web.serving import needs_extra, serve_app, tell_at_once
from migaki.web.sittings import FILE_NAME, Sittings
from migaki.web.stimuli import assemble


@dataclass(frozen=True, kw_only=True, slots=True)
class TuringConfig:
    """Serve a visual Turing test, or report on it."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "per_class seed machine unrefined report", "run": "host port token"}
    NAMES: ClassVar[dict[str, str]] = {"real": "photos"}

    real: Path
    """Folder of real images."""
    fake: Path
    """Folder of the images that should look real."""
    out: Path
    """Folder for the answers (turing.sqlite) and the report; give the same one again to continue."""
    per_class: int = 50
    """Images of each kind that every person judges (the paper: 50)."""
    host: str = "127.0.0.1"
    """Address to serve at; one that other machines can reach needs a token."""
    port: int = 8765
    """Port to serve at; 0 chooses a free one."""
    token: str | None = None
    """Secret part of the link with which a sitting begins; required if other machines can reach the server."""
    seed: int = 0
    """Seed of the choice of images and of the machine's training. The order is drawn separately for each person."""
    report: bool = False
    """Only write turing.json and report.html from the answers so far, and stop."""
    machine: bool = False
    """First let a newly trained classifier take the test, once, on images that it has not seen."""
    unrefined: Path | None = None
    """The fakes before refining: the machine's figure for them stands beside the one for the fakes."""


def run(config: TuringConfig, tell: Callable[[str], None] = tell_at_once) -> None:
    """Serve the test until interrupted, or with `report` only write the report. UserError for user errors."""
    path = config.out / FILE_NAME
    if config.report and not config.machine:
        sittings = Sittings(path)
    else:
        guard.check_binding(config.host, config.token)
        sittings = open_test(config)
    try:
        for sentence in sittings.stimuli().warnings:
            tell(f"Note: {sentence}.")
        if config.machine:
            tell(take_by_machine(config, sittings))
        if not config.report:
            serve(config, sittings, tell)
        tell(f"Report: {turing_report.write_report(sittings, config.out)}")
    finally:
        sittings.close()


def open_test(config: TuringConfig) -> Sittings:
    """Open the test in `config.out` or make a new one; UserError if the existing one has other settings."""
    path = config.out / FILE_NAME
    settings = {"real": str(config.real), "fake": str(config.fake), "per_class": str(config.per_class),
                "seed": str(config.seed)}
    if not path.exists():
        images = assemble(config.real, config.fake, config.per_class, config.seed)
        return Sittings.create(path, images, settings)
    sittings = Sittings(path)
    for name, value in settings.items():
        made_with = sittings.settings.get(name)
        if made_with != value:
            sittings.close()
            option = name.replace("_", "-")
            raise UserError(f"{path}: this test was made with --{option} {made_with}, not {value}: "
                            "repeat that or choose another --out")
    return sittings


def take_by_machine(config: TuringConfig, sittings: Sittings) -> str:
    """Let a newly trained classifier take the test, unless one has; returns one line about its result."""
    record = sittings.machine()
    kept = " It took the test before: its answers are kept." if record else ""
    if record is None:
        record = sittings.seat_machine(observer.observe(config.real, config.fake, sittings.stimuli(), config.seed))
    if not (config.out / observer.FILE_NAME).exists():
        observer.write_comparison(config.real, config.fake, config.unrefined, sittings.stimuli(), config.seed,
                                  config.out)
    right = sum(answer.is_real == answer.said_real for answer in record.answers)
    return f"{record.code.capitalize()}: a fresh classifier was right on {right} of {record.total} images.{kept}"


def serve(config: TuringConfig, sittings: Sittings, tell: Callable[[str], None]) -> None:
    """Serve the pages until interrupted."""
    with needs_extra():  # imported here because writing a report needs no web server
        from migaki.web.turing_app import build_app
    app = build_app(sittings, host=config.host, token=config.token)
    results = f"results?key={sittings.settings['results_key']}"
    serve_app(app, config.host, config.port, lambda address: [
        f"Take the test:   {address}/" + (f"#{config.token}" if config.token else ""),
        f"See the results: {address}/{results}",
        "Ctrl-C stops the server; the same command continues where it stopped."], tell)
