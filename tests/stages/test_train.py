"""train: a run on folders that have changed since is not taken for one on what they hold now."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from toy_folders import write_folder

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.stages.train import train
from migaki.systems.classifier import Classifier

CONFIG = Classifier.Config(steps=3, batch_size=4, features=4)
RUN = Run(sample_every=0)


def test_other_images_are_another_run(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    write_folder(data, 6, (12, 16))
    train(Classifier, Classifier.Data(data=(data,)), CONFIG, RUN, out, quiet=True)
    model = (out / "model.safetensors").read_bytes()
    train(Classifier, Classifier.Data(data=(data,)), CONFIG, RUN, out, quiet=True)  # nothing has changed
    shutil.rmtree(data)
    write_folder(data, 7, (12, 16), seed=1)
    with pytest.raises(UserError, match=f"content of {data} was another.*--no-resume"):
        train(Classifier, Classifier.Data(data=(data,)), CONFIG, RUN, out, quiet=True)
    assert (out / "model.safetensors").read_bytes() == model
    train(Classifier, Classifier.Data(data=(data,)), CONFIG, replace(RUN, resume=False), out, quiet=True)
    assert (out / "model.safetensors").read_bytes() != model


def test_other_folders_are_another_run(tmp_path: Path) -> None:
    first, second = (write_folder(tmp_path / name, 6, (12, 16)) for name in ("first", "second"))
    train(Classifier, Classifier.Data(data=(first,)), CONFIG, RUN, tmp_path / "run", quiet=True)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["data"] == {"data": [str(first)]} and len(record["contents"]["data"]) == 1
    assert f"- data: `{first}`" in (tmp_path / "run" / "README.md").read_text()
    for folders in ((second,), (first, second)):
        with pytest.raises(UserError, match="another configuration"):
            train(Classifier, Classifier.Data(data=folders), CONFIG, RUN, tmp_path / "run", quiet=True)
