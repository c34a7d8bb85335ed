"""Export: every system becomes an ONNX file that onnxruntime agrees with."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.fit import Run, fit
from migaki.core.system import System
from migaki.stages import export as module
from migaki.stages.export import export
from migaki.systems.deep_detail import DeepDetail
from migaki.systems.gaze import Gaze

pytest.importorskip("onnxruntime", reason="the extra migaki[export] is not installed")
pytestmark = pytest.mark.usefixtures("one_operator_table")

# Tracing takes many seconds. These have every way in and out that an export knows (classes, numbers, pictures, maps,
# rays, two pictures) and most operators; `make test-long` exports them all. That each predicts pictures one by
# one as it predicts them together is checked in tests/systems/test_system_contract.py.
ALWAYS = ("classifier", "gaze", "simgan", "depth", "deep3d", "copy_detector", "nerf")


class Same:
    """A source that gives one batch for ever."""

    def __init__(self, batch: Batch) -> None:
        self.made = batch

    def batch(self, step: int) -> Batch:
        return self.made


def trained(cls: type[Any], out: Path) -> Path:
    config, batch = cls.tiny()
    torch.manual_seed(0)
    fit(cls(replace(config, steps=3)), Same(batch), Run(sample_every=0), out, quiet=True)
    return out


def every_system() -> list[Any]:
    """Every system by its name; most are for `make test-long`."""
    names = names_in("systems", "System")
    assert set(ALWAYS) < set(names)
    return [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.long) for name in names]


@pytest.mark.parametrize("name", every_system())
def test_every_trained_system_runs_in_onnxruntime(name: str, tmp_path: Path) -> None:
    run = trained(find_class("systems", name, System), tmp_path / "run")
    gaps = export(run, tmp_path / "model.onnx")
    assert gaps and max(gaps.values()) < 1e-3
    assert (tmp_path / "model.onnx").stat().st_size > 1000


def test_a_network_of_any_size_is_written_for_one(tmp_path: Path) -> None:
    import onnxruntime

    run = trained(DeepDetail, tmp_path / "run")
    export(run, tmp_path / "model.onnx", (48, 40))
    session = onnxruntime.InferenceSession((tmp_path / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [3, 48, 40]
    assert session.run(None, {"image": np.zeros((2, 3, 48, 40), np.float32)})[0].shape == (2, 3, 48, 40)
    for size in ((8, 40), (48, 4000)):
        with pytest.raises(UserError, match="--size"):
            export(run, tmp_path / "model.onnx", size)
    with pytest.raises(UserError, match="leave out --size"):
        export(trained(Gaze, tmp_path / "gaze"), tmp_path / "model.onnx", (48, 40))


def test_what_is_being_done_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing takes a minute on a busy machine; a log shows no bar."""
    run = trained(DeepDetail, tmp_path / "run")
    monkeypatch.setattr(module, "_trace", lambda *_: (_ for _ in ()).throw(UserError("enough")))
    with pytest.raises(UserError, match="enough"):
        export(run, tmp_path / "model.onnx", (48, 40))
    told = capsys.readouterr().err
    assert "export: loading" in told and "export: tracing the network" in told
    with pytest.raises(UserError, match="enough"):
        export(run, tmp_path / "model.onnx", (48, 40), quiet=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"an extra \(onnxscript\): pip install 'migaki\[export\]'"):
        export(run, tmp_path / "model.onnx", (48, 40))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        export(tmp_path / "nothing", tmp_path / "model.onnx")


def test_another_file_is_not_written_over(tmp_path: Path) -> None:
    other = tmp_path / "photo.jpg"
    other.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"photo\.jpg: is there already and no ONNX file"):
        export(tmp_path / "run", other)
    assert other.read_bytes() == b"mine"
