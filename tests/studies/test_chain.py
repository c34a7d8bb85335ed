"""Options become words and back; a chain runs each step once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from migaki.core.errors import NothingLeft, UserError
from migaki.core.files import write_text
from migaki.lab.chain import Phase, Step, run_chain
from migaki.lab.steps import option_words
from migaki.lab.study import Study
from migaki.metrics.spectrum import spectrum_features
from migaki.ops.histogram import equalise
from migaki.studies.digits import Digits
from migaki.studies.gaze import GazeStudy
from migaki.studies.hands import Hands
from migaki.systems.simgan import SimGAN


def test_options_are_those_that_differ() -> None:
    config = SimGAN.Config(steps=7, shortcut=False, is_global=True, lambda_reg=0.5)
    words = option_words(config, SimGAN.Config())
    assert words == ["--steps", "7", "--lambda-reg", "0.5", "--is-global", "--no-shortcut"]


def test_a_step_runs_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof, runs = tmp_path / "proof", []

    def work(command: str) -> None:
        runs.append(command)
        proof.touch()

    phase = Phase(title="walk", steps=(Step(words=("walk", "a b"), work=work, proof=proof),))
    first = run_chain([phase], tmp_path, last="rest")
    second = run_chain([phase], tmp_path, last="rest")
    assert runs == ["migaki walk 'a b'"] and first == second
    assert "1/2 walk" in capsys.readouterr().err
    proof.unlink()
    run_chain([phase], tmp_path, last="rest", quiet=True)
    assert len(runs) == 2


def test_what_other_options_made_does_not_pass_for_what_is_asked(tmp_path: Path) -> None:
    """5, then 50 in its place, then 5 again: the folder holds what 50 made, whatever was recorded of the first 5."""
    out, runs = tmp_path / "out", []

    def phase(option: str) -> Phase:
        def work(command: str) -> None:
            runs.append(option)
            (out / "made").mkdir(parents=True, exist_ok=True)
            (out / "made" / "proof").write_text(option)

        read = Step(about="read it", needs=(out / "made",), work=lambda _: write_text(out / "told", option),
                    proof=out / "told")
        return Phase(title="walk", steps=(Step(words=("walk", option), work=work, proof=out / "made" / "proof"), read))

    run_chain([phase("5")], out, last="rest", quiet=True)
    with pytest.raises(UserError, match=r"with other options .*: made, \. *: delete these folders"):
        run_chain([phase("50")], out, last="rest", quiet=True)
    shutil.rmtree(out / "made")
    (out / "told").unlink()
    run_chain([phase("50")], out, last="rest", quiet=True)
    with pytest.raises(UserError, match="with other options"):
        run_chain([phase("5")], out, last="rest", quiet=True)
    assert runs == ["5", "50"]


def test_what_nothing_is_left_of_is_left_out_with_all_that_stands_on_it(tmp_path: Path) -> None:
    out, runs = tmp_path / "out", []

    def step(name: str, *needs: str, leaves: bool = True) -> Step:
        def work(command: str) -> None:
            runs.append(name)
            if not leaves:
                raise NothingLeft(f"{name}: every image was left out")
            (out / name).mkdir(parents=True, exist_ok=True)
            write_text(out / name / "proof", name)

        return Step(about=name, needs=tuple(out / need for need in needs), work=work, proof=out / name / "proof")

    phase = Phase(title="walk", steps=(step("kept", leaves=False), step("model", "kept"), step("judged", "model"),
                                   step("other")))
    left_out: dict[Path, str] = {}
    timings = run_chain([phase], out, last="rest", quiet=True, left_out=left_out)
    assert runs == ["kept", "other"] and len(timings) == 1
    assert left_out == dict.fromkeys((out / name for name in ("kept", "model", "judged")),
                                     "kept: every image was left out")
    with pytest.raises(NothingLeft):
        run_chain([phase], out, last="rest", quiet=True)


def test_two_steps_cannot_share_a_folder(tmp_path: Path) -> None:
    steps = tuple(Step(words=("walk", name), work=lambda _: None, proof=tmp_path / "made" / name) for name in "ab")
    with pytest.raises(UserError, match=r"two steps of a chain write into .*made"):
        run_chain([Phase(title="walk", steps=steps)], tmp_path, last="rest", quiet=True)


@pytest.mark.parametrize("study", [
    Hands(Hands.Config(seeds=5)), Digits(Digits.Config(seeds=5, side_seeds=5)),
    GazeStudy(GazeStudy.Config(refiner_seeds=5, cnn_seeds=5, ablations=True, ablation_seeds=5, bound_seeds=5)),
], ids=lambda study: type(study).__name__)
def test_no_two_steps_of_a_study_write_into_one_folder(study: Study, tmp_path: Path) -> None:
    steps = [step for phase in study.plan(tmp_path, quiet=True).phases for step in phase.steps]
    assert len({step.proof.parent for step in steps}) == len(steps) == len({step.command for step in steps})


def test_a_users_folder_that_has_changed_is_noticed(tmp_path: Path) -> None:
    mine, out, runs = tmp_path / "mine", tmp_path / "out", []
    mine.mkdir()
    (mine / "a.png").write_bytes(b"1")

    def work(command: str) -> None:
        runs.append(command)
        (out / "made").mkdir(exist_ok=True)
        (out / "made" / "proof").write_text(command)

    phase = Phase(title="walk", steps=(Step(words=("walk", "far", str(mine), "--out", str(out / "made")), work=work,
                                        proof=out / "made" / "proof"),))
    run_chain([phase], out, last="rest", quiet=True)
    run_chain([phase], out, last="rest", quiet=True)  # what it has made itself does not count
    assert len(runs) == 1
    (mine / "b.png").write_bytes(b"2")
    with pytest.raises(UserError, match="made from other data"):
        run_chain([phase], out, last="rest", quiet=True)


def test_equalise_spreads_the_levels() -> None:
    images = torch.rand(2, 1, 30, 40) * 0.2 + 0.4
    flat = equalise(images)
    assert flat.min() == 0 and flat.max() == 1
    assert torch.histc(flat, 4, 0, 1).min() > 0.2 * flat.numel()
    assert torch.equal(equalise(torch.full((1, 1, 4, 4), 0.3)), torch.full((1, 1, 4, 4), 0.3))
    assert equalise(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)


def test_the_spectrum_sees_grain() -> None:
    smooth = torch.linspace(0, 1, 32).expand(4, 1, 24, 32)
    grainy = smooth + 0.1 * torch.randn(4, 1, 24, 32)
    gain = spectrum_features(grainy) - spectrum_features(smooth)
    assert gain.shape == (4, 12) and (gain[:, -3:] > 3).all()
    with pytest.raises(UserError):
        spectrum_features(torch.rand(1, 1, 2, 2))


@pytest.mark.parametrize("content", ["[]", '{"made": 3}', '{"made": {"seconds": "1", "cpu_seconds": 1}}'])
def test_a_record_of_another_form_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    write_text(tmp_path / "steps.json", content)
    with pytest.raises(UserError, match=r"steps\.json: not what a chain of steps wrote"):
        run_chain([], tmp_path, last="rest", quiet=True)
