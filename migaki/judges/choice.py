"""Chooses among refiners without a label, by how well they are told from photographs and how far labels drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.glossary import keys_of
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.seeds import generator
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.drift import pair
from migaki.judges.drift_meter import CHUNK, FolderMeter, written
from migaki.judges.labels import Labels, metric_of, open_for
from migaki.judges.looks import distance, read_images
from migaki.judges.observers import ObserverConfig, binomial_error, evenly, told_apart
from migaki.metrics.drift import Tolerance, headline, parse_tolerance, unit_name

UNREFINED = "unrefined"
"""The candidate that is always there: the pictures as they were. Its drift is 0."""

_TOLERATED = {"px": 1.0, "deg": 1.0, "%": 2.0, "std": 0.2}  # mean drift, where no --tolerance is given
_PIECE = 64  # pictures that a refiner changes at once

_RULE = (
    "Rule: of the candidates whose mean drift is at most {tolerance}, the one that the observers (linear on pixels, "
    "linear on the spectrum, a small CNN on held-out halves) tell worst from photographs, on average. Of candidates "
    "within one standard error of it, the one with the least drift. The pictures as they were are a candidate too. No "
    "label of a photograph is read.")


class Choice(Judge):
    """Chooses among refined sets, or trained refiners and their snapshots, without a label of a photograph.

    Figures by candidate: `told_apart` by each observer and on average, `drift`. With `--labelled` and `--models` it
    also says how far the blind choice is from the best one (`regret`).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What to choose from, and by what."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "candidates tolerance pictures observer_steps seed labelled models", "run": "device"}

        synthetic: Path  # the pictures before refining
        photos: Path  # photographs, preferably unseen by the refiners; their labels, if any, are not read
        estimator: Path  # a run trained on the pictures before refining, which measures drift
        candidates: tuple[Path, ...] = ()  # the same pictures refined, or runs of refiners; also as RUN ... before
        tolerance: str = ""  # largest mean drift, such as 2% or 1px; none: 1px, 1deg, 2% or 0.2std
        pictures: int = 600  # pictures of each set that are looked at, evenly spaced
        observer_steps: int = 300  # updates of the CNN observer; 0 = without it
        seed: int = 0  # of the observers and of what refiners draw
        labelled: Path | None = None  # labelled photographs, only to say how good the choice was; needs --models
        models: tuple[Path, ...] = ()  # task models of the unrefined pictures and of each candidate, equally many each
        device: hardware.Device = "auto"  # auto: a GPU where there is one

    config: Config
    takes_runs = True
    file_name = "choice"

    def sources(self) -> tuple[Path, ...]:
        """Returns all sets and runs."""
        config = self.config
        labelled = (config.labelled,) if config.labelled is not None else ()
        return (config.synthetic, config.photos, *config.candidates, *labelled)

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """None: a choice among several runs belongs to none of them."""
        return None

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of all candidates and the one chosen."""
        config = self.config
        paths = _distinct((*runs, *config.candidates))
        if config.pictures < 16:
            raise UserError(f"--pictures {config.pictures}: at least 16")
        if config.observer_steps < 0:
            raise UserError(f"--observer-steps {config.observer_steps}: at least 1, or 0 to leave the CNN out")
        _check_models(config, len(paths))
        sets = _Sets(config)
        tolerance = _tolerance(config, sets.meter)
        for path in paths:
            sets.check(path)  # before the observers take their minutes
        found = [sets.look(UNREFINED, None)]
        for number, path in enumerate(paths, 1):
            progress(number, len(paths) + 1)
            found.append(sets.look(show(path), path))
        chosen = choose(found, tolerance.value)
        figures: dict[str, Any] = {f"{one.name}/{key}": value for one in found for key, value in one.figures().items()}
        record = {"synthetic": str(config.synthetic), "photos": str(config.photos), "estimator": str(config.estimator),
                  "candidates": list(map(str, paths)), "tolerance": str(tolerance), "pictures": config.pictures,
                  "seed": config.seed, "chosen": chosen.name, "version": __version__}
        columns = ["candidate", *found[0].observers, "mean told apart", f"drift, {sets.meter.unit}", ""]
        rows = [[one.name, *one.observers.values(), one.score, one.drift,
                 "chosen" if one is chosen else "too much drift" if one.drift > tolerance.value else ""]
                for one in found]
        notes = [f"Chosen: {chosen.name}.", _RULE.format(tolerance=tolerance)]
        if config.labelled is not None:
            said, more = _regret(config, found, chosen)
            figures |= more
            notes.insert(1, said)
        progress(len(paths) + 1, len(paths) + 1)
        base = {f"{one.name}/{key}": value for one in found for key, value in found[0].figures().items()}
        return Findings(title="Choice without labels", record=record, figures=figures, baseline=base,
                        baseline_name="the pictures as they were", notes=notes,
                        sections=[Section(columns=columns, rows=rows)])


@dataclass
class Candidate:
    """What is known of a candidate without a label."""

    name: str
    observers: dict[str, float]  # how often each tells it from photographs; 0.5 is chance
    error: float  # standard error of their mean
    drift: float  # mean over pictures, in the estimator's unit

    @property
    def score(self) -> float:
        """The mean over the observers."""
        return float(np.mean(list(self.observers.values())))

    def figures(self) -> dict[str, float]:
        """Returns the figures by name."""
        return {**{f"{name}_told_apart": value for name, value in self.observers.items()}, "told_apart": self.score,
                "drift": self.drift}


def choose(candidates: Sequence[Candidate], tolerance: float) -> Candidate:
    """Returns the candidate that the rule of this module chooses; of equal ones the first.

    Candidates that drift more than `tolerance` are out; the unrefined pictures drift by nothing, so one is always left.
    """
    left = [one for one in candidates if one.drift <= tolerance] or list(candidates[:1])
    best = min(left, key=lambda one: one.score)
    near = [one for one in left if one.score <= best.score + best.error]
    return min(near, key=lambda one: (one.drift, one.score))


class _Sets:
    """The pictures before refining and the photographs, read once."""

    def __init__(self, config: Choice.Config) -> None:
        self.config = config
        self.device = hardware.choose_device(config.device)
        self.folder = ImageFolder(config.synthetic)
        self.chosen = evenly(len(self.folder), config.pictures)
        self.photos = read_images(config.photos, config.pictures, like=self.folder)
        self.meter = FolderMeter(config.estimator, self.folder, self.device)

    def look(self, name: str, path: Path | None) -> Candidate:
        """Returns what the observers and the estimator say of a refined set or of a refiner; None: as they were."""
        images = self._images(path)
        found = {key: value["told_apart"] for key, value in distance(images, self.photos).items()}
        count = 2.0 * min(len(images), len(self.photos))
        if self.config.observer_steps:
            cnn = ObserverConfig(num_steps=self.config.observer_steps)
            found["cnn"] = told_apart(images, self.photos, self.config.seed, cnn)["told_apart"]
        error = float(np.mean([binomial_error(value, count) for value in found.values()]))
        drift = 0.0 if path is None else self._drift(images)
        return Candidate(name, found, error, drift)

    def _images(self, path: Path | None) -> Tensor:
        """Returns the pictures (N, C, H, W) of a candidate, in the order of `chosen`."""
        if path is None:
            return self.folder.read(self.chosen, ("image",))["image"]
        if (path / "config.json").is_file():
            return self._refined(path, self.chosen)
        after, places = self._paired(path)
        return after.read([places[place] for place in self.chosen], ("image",))["image"]

    def check(self, path: Path) -> None:
        """UserError for a run that refines no such pictures, and for a set that lacks some of them."""
        if (path / "config.json").is_file():
            self._refined(path, self.chosen[:1])
        else:
            self._paired(path)

    def _paired(self, path: Path) -> tuple[ImageFolder, dict[int, int]]:
        """Returns a refined set, and by the place of a picture in the set before refining its place in this one."""
        after = ImageFolder(path, size=self.folder.shape[1:], channels=self.folder.shape[0])
        places = {before: behind for before, behind in reversed(pair(self.folder, after))}
        lacking = [place for place in self.chosen if place not in places]
        if lacking:
            raise UserError(f"{show(path)}: lacks '{show(self.folder.names[lacking[0]])}' and perhaps more of "
                            f"{show(self.folder.path)}: give sets in which no picture was rejected")
        return after, places

    def _refined(self, run: Path, chosen: Sequence[int]) -> Tensor:
        """Returns what a trained refiner makes of the pictures at these places, rounded as if written to files."""
        system = load_system(run).to(device=self.device)
        if system.shape is not None and system.shape != self.folder.shape:
            raise UserError(f"{show(run)}: refines pictures of {system.shape[2]}x{system.shape[1]} px in "
                            f"{system.shape[0]} channels, and {show(self.folder.path)} holds others: name a run that "
                            "was trained on them")
        reads = (*system.inputs, *(key for key in system.hints if key in self.folder.labels))
        parts = []
        for start in range(0, len(chosen), _PIECE):
            rows = chosen[start : start + _PIECE]
            batch = self.folder.read(rows, reads)
            for key, shape in system.drawn().items():
                batch[key] = torch.stack([torch.randn(shape, generator=generator(self.config.seed, row))
                                          for row in rows])
            parts.append(_picture(run, system, {key: value.to(self.device) for key, value in batch.items()}))
        return written(torch.cat(parts))

    def _drift(self, images: Tensor) -> float:
        values = []
        for start in range(0, len(self.chosen), CHUNK):
            rows = self.chosen[start : start + CHUNK]
            before = self.folder.read(rows, self.meter.keys_of(self.folder))
            after = before | {"image": images[start : start + CHUNK]}
            values.append(headline(self.meter.meter.drift(self.meter.read(after), self.meter.read(before))))
        return float(torch.cat(values).double().mean())


def _picture(run: Path, system: Any, batch: Batch) -> Tensor:
    with torch.inference_mode():
        made: Batch = system.predict(batch)
    name = next((key for key in made if key in keys_of("picture")), None)
    if name is None:
        raise UserError(f"{show(run)}: a {type(system).__name__} makes no pictures: name runs of refiners")
    return made[name].float().cpu()


def _distinct(paths: Sequence[Path]) -> list[Path]:
    if not paths or len(set(paths)) < len(paths):
        raise UserError("evaluate choice: name refiners as RUN ..., or refined sets with --candidates, each once")
    return list(paths)


def _tolerance(config: Choice.Config, meter: FolderMeter) -> Tolerance:
    if not config.tolerance:
        return Tolerance(_TOLERATED[meter.unit], meter.unit) if meter.unit in _TOLERATED else _required(meter)
    found = parse_tolerance(config.tolerance, "--tolerance")
    found.require(meter.unit, "--tolerance", show(config.estimator))
    return found


def _required(meter: FolderMeter) -> Tolerance:
    raise UserError(f"--tolerance: the estimator reads {unit_name(meter.unit)}: say how far labels may drift, such as "
                    f"--tolerance 1{meter.unit}")


def _check_models(config: Choice.Config, count: int) -> None:
    if (config.labelled is None) != (not config.models):
        raise UserError("--labelled and --models go together: labelled photographs, and the models that they judge")
    if len(config.models) % (count + 1):
        raise UserError(f"--models: {len(config.models)} are given; name equally many for the unrefined pictures and "
                        f"for each of the {count} candidates, in this order")
    for run in config.models:
        metric = load_system(run).metric()
        if metric is None or not metric.main:
            raise UserError(f"{show(run)}: has no figure by which labels judge it: name task models with --models")


def _regret(config: Choice.Config, found: Sequence[Candidate], chosen: Candidate) -> tuple[str, dict[str, float]]:
    """Returns a sentence and figures: how the candidates' models do on labels, and how far the choice is from the best.
    """
    assert config.labelled is not None
    each = len(config.models) // len(found)
    main, sign, values = "", 1, list[float]()
    for number in range(len(found)):
        shares = []
        for run in config.models[number * each : (number + 1) * each]:
            system = load_system(run)
            metric = system.metric()
            assert metric is not None  # `_check_models`
            main, sign = metric.main, 1 if metric.higher_is_better else -1
            job = Labels.Config(data=config.labelled, device=config.device)
            shares.append(float(metric_of(system, open_for(system, job), job, lambda _: None)
                                .compute()[main]))
        values.append(float(np.mean(shares)))
    own = values[list(found).index(chosen)]
    best = max(range(len(values)), key=lambda number: sign * values[number])
    regret = sign * (values[best] - own)
    figures = {f"{one.name}/{main}": value for one, value in zip(found, values, strict=True)} | {"regret": regret}
    return (f"By labels ({main}, {each} model{'s' if each > 1 else ''} each) the best is {found[best].name} with "
            f"{values[best]:.4g}; the one chosen has {own:.4g}: the regret is {regret:.4g}.", figures)
