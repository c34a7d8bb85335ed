"""Kill every stage with SIGKILL at random moments, run it again, and compare what is left with a run left in peace.

    python tests/reliability/harness.py --kills 25            # all stages, about twenty-five minutes on two cores
    python tests/reliability/harness.py --kills 5 simulate-eyes apply

Each trial begins in an empty folder and is killed at a moment drawn uniformly from the time that an undisturbed run
takes, half of them a second time while they go on; then the same command is run to its end. The folder must hold the
same files with the same bytes as that of the undisturbed run. The only files left out are those that hold the clock:
`timing.jsonl` of a run; `steps.json`, `report.html` and `tables/time.*` of a study.

Stages run in processes forked from one that has imported everything, so that a kill falls into the work and not into
the loading of PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))

from warm_processes import warm_context  # noqa: E402, of the folder above where this is the program

os.environ.setdefault("OMP_NUM_THREADS", "1")

CLOCKED = ("timing.jsonl", "steps.json", "report.html", "time.csv", "time.json", "time.md")
"""Files of which the clock is a part."""

CPU = ["--device", "cpu", "--precision", "fp32"]
OFTEN = [*CPU, "--log-every", "1", "--sample-every", "5", "--checkpoint-every", "2"]
SIMGAN = ["--batch-size", "8", "--features", "8", "--blocks", "2", "--history", "24", "--refiner-pretraining", "2",
          "--discriminator-pretraining", "2", "--discriminator-width", "0.2"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One command to be killed: its words, with the places of `prepare` in capitals and OUT for the folder."""

    words: tuple[str, ...]


def stages(effort: int) -> dict[str, Stage]:
    """Every stage; `effort` 1 takes about half a second each, more takes longer."""
    steps = str(12 * effort)
    return {
        "simulate-eyes": Stage(words=("simulate", "eyes", "--count", str(300 * effort), "--supersample", "1",
                                      "--threads", "1", "--out", "OUT")),
        "simulate-digits": Stage(words=("simulate", "digits", "--count", str(400 * effort), "--out", "OUT")),
        "simulate-rain": Stage(words=("simulate", "rain", "--input", "PHOTOS", "--count", str(effort), "--out", "OUT")),
        "import": Stage(words=("import", "optdigits", "scikit-learn", "--out", "OUT")),
        "train-simgan": Stage(words=("train", "simgan", "--synthetic", "EYES", "--real", "PHOTOS", "--out", "OUT",
                                     "--steps", steps, *OFTEN, *SIMGAN)),
        "train-gaze": Stage(words=("train", "gaze", "--data", "EYES", "--photos", "PHOTOS", "--out", "OUT",
                                   "--steps", steps, *OFTEN, "--batch-size", "16", "--features", "8")),
        "apply": Stage(words=("apply", "REFINER", "--input", "MANY", "--out", "OUT", "--batch-size", "8", *CPU)),
        # As the two before, into shards.
        "simulate-shards": Stage(words=("simulate", "digits", "--count", str(400 * effort), "--format", "webdataset",
                                        "--shard", "50", "--out", "OUT")),
        "apply-tar": Stage(words=("apply", "REFINER", "--input", "MANY", "--out", "OUT", "--batch-size", "8", *CPU,
                                  "--format", "webdataset", "--shard", "25")),
        "apply-parquet": Stage(words=("apply", "REFINER", "--input", "MANY", "--out", "OUT", "--batch-size", "8", *CPU,
                                      "--format", "parquet", "--shard", "25")),
        "apply-change": Stage(words=("apply", "resize", "--input", "MANY", "--out", "OUT", "--batch-size", "8",
                                     "--width", "20", "--height", "12")),
        "damage": Stage(words=("simulate", "noise", "--input", "MANY", "--out", "OUT", "--count", "2")),
        "import-photos": Stage(words=("import", "photos", "MANY", "--out", "OUT")),
        "evaluate": Stage(words=("evaluate", "MODEL", "--data", "MANY", "--out", "OUT", "--batch-size", "4", *CPU)),
        "export": Stage(words=("export", "REFINER", "--out", "OUT/refiner.onnx")),
        "study": Stage(words=("a study", "OUT")),
    }


def prepare(root: Path, effort: int) -> dict[str, str]:
    """Folders and a trained refiner for the stages to work on; their places by the names used in `Stage.words`."""
    from toy_folders import write_folder

    write_folder(root / "eyes", 40, (24, 40))
    write_folder(root / "photos", 30, (30, 44), real=True, labels=())
    write_folder(root / "many", 120 * effort, (24, 40), seed=1)
    places = {"EYES": str(root / "eyes"), "PHOTOS": str(root / "photos"), "MANY": str(root / "many"),
              "REFINER": str(root / "refiner"), "MODEL": str(root / "model")}
    words = ["train", "simgan", "--synthetic", "EYES", "--real", "PHOTOS", "--out", "REFINER", "--steps", "2", *OFTEN]
    model = ["train", "gaze", "--data", "EYES", "--out", "MODEL", "--steps", "2", *OFTEN, "--features", "8"]
    for command in ([*words, *SIMGAN], model):
        code, said = Victim([places.get(word, word) for word in command]).finish()
        assert code == 0, said
    return places


# ------------------------------------------------------------------------------------------------ processes


def _run(words: list[str], log: str, limits: Callable[[], None] | None) -> None:
    """In the child: the command line, with all that it says in the file `log`."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    import torch

    torch.set_num_threads(1)
    if limits is not None:
        limits()
    if words[0] == "a study":
        from toy_study import main as study

        code = study(words[1:])
    else:
        from migaki.cli import main

        sys.argv = ["migaki", *words]
        code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


class Victim:
    """A command line at work in a process of its own."""

    def __init__(self, words: list[str], limits: Callable[[], None] | None = None) -> None:
        handle, self.log = tempfile.mkstemp(suffix=".log")
        os.close(handle)
        self.process = warm_context().Process(target=_run, args=(words, self.log, limits))
        self.process.start()

    def kill(self) -> None:
        """SIGKILL; nothing of the process runs any more."""
        self.process.kill()
        self.process.join()
        Path(self.log).unlink()

    def send(self, number: int) -> None:
        """Any other signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def finish(self, patience: float = 240.0) -> tuple[int, str]:
        """Wait for the end: exit code and what was said."""
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still at work after {patience:g} s: {Path(self.log).read_text()}")
        said = Path(self.log).read_text()
        Path(self.log).unlink()
        return int(self.process.exitcode or 0), said


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, but for those that hold the clock."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name not in CLOCKED}


def difference(found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    """Which files differ; empty if none."""
    lines = [f"missing: {name}" for name in wanted if name not in found]
    lines += [f"left over: {name}" for name in found if name not in wanted]
    lines += [f"differs: {name}" for name in wanted if name in found and found[name] != wanted[name]]
    return "; ".join(lines[:5])


# ------------------------------------------------------------------------------------------------ trials


@dataclass(slots=True)
class Result:
    """What came of the trials of one stage."""

    seconds: float  # of the undisturbed run
    kills: int = 0
    in_work: int = 0  # kills that met the process alive
    trials: int = 0
    problems: list[str] | None = None


def torture(stage: Stage, places: dict[str, str], root: Path, kills: int, seed: int) -> Result:
    """Kill one stage `kills` times, in as many trials as that takes. See the module."""
    out = root / "out"  # one place for all, for files may hold their own path

    def words() -> list[str]:
        known = {**places, "OUT": str(out), "OUT/refiner.onnx": str(out / "refiner.onnx")}
        return [known.get(word, word) for word in stage.words]

    def whole() -> tuple[float, dict[str, bytes], str]:
        began = time.monotonic()
        code, said = Victim(words()).finish()
        return time.monotonic() - began, tree(out), "" if code == 0 else f"exit code {code}: {said[-300:]}"

    def clear() -> None:
        shutil.rmtree(out, ignore_errors=True)
        if any(word.startswith("OUT/") for word in stage.words):  # a file in a folder, which must be there
            out.mkdir()

    clear()
    seconds, wanted, problem = whole()
    assert not problem, problem
    if kills > 5:  # the first run fills caches and takes longer: most moments of its length would come after the end
        clear()
        seconds, again, problem = whole()
        problem = problem or difference(again, wanted)
        assert not problem, problem
    result, draw = Result(seconds=seconds, problems=[]), random.Random(seed)
    assert result.problems is not None
    while result.kills < kills:
        clear()
        for _ in range(min(draw.choice((1, 2)), kills - result.kills)):
            victim = Victim(words())
            moment = draw.uniform(0, seconds)
            time.sleep(moment)
            result.in_work += victim.process.is_alive()
            victim.kill()
            result.kills += 1
        result.trials += 1
        _, found, problem = whole()
        problem = problem or difference(found, wanted)
        if problem:
            result.problems.append(f"trial {result.trials}, last killed after {moment:.3f} s: {problem}")
    return result


def main() -> int:
    """The command line of this file."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", help="stages; all by default")
    options.add_argument("--kills", type=int, default=25, help="of each stage")
    options.add_argument("--effort", type=int, default=2, help="length of the stages")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        places = prepare(Path(folder), given.effort)
        print("| stage | whole run, s | kills | met it at work | trials | trials with other files |")
        print("|---|---|---|---|---|---|", flush=True)
        for name, stage in stages(given.effort).items():
            if given.names and name not in given.names:
                continue
            result = torture(stage, places, Path(folder), given.kills, given.seed)
            problems = result.problems or []
            print(f"| {name} | {result.seconds:.1f} | {result.kills} | {result.in_work} | {result.trials} | "
                  f"{len(problems)} |", flush=True)
            for problem in problems:
                print(json.dumps(problem), file=sys.stderr)
            failed = failed or bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
