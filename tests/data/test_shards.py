"""Tar and Parquet shards: read back as they were, by us and by their own libraries; killed, damaged, of others."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.writers.formats import Format, open_writer
from migaki.data.writers.record import Plan, plan

SHARDED: list[Format] = ["webdataset", "parquet"]


def planned(index: int) -> Plan:
    """Image `index` with a mask, a depth map, numbers, a list, a text, and a column that only some rows fill."""
    draw = torch.Generator().manual_seed(index)
    row: dict[str, Any] = {
        "gaze_pitch": 0.5 * index, "gaze_yaw": -0.25, "label": index % 3, "note": f"nº {index}",
        "eye_corners": [[1.5, 2.0], [3.0, float(index)]], "rare": 1.5 if index == 6 else None,
        "mask": torch.randint(0, 4, (6, 8), generator=draw, dtype=torch.uint8),
        "depth": 1000 * torch.rand(6, 8, generator=draw),
    }
    return plan(f"set/{index:03d}.v1", torch.rand(3, 6, 8, generator=draw), row, "png")


def write(form: Format, out: Path, indices: list[int] | None = None, total: int = 7) -> Path:
    with open_writer(form, out, {"seed": 1}, total, shard=3) as writer:
        for index in writer.missing(range(total)) if indices is None else indices:
            writer.write_plan(index, planned(index))
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("form", SHARDED)
def test_read_as_the_plain_folder(form: Format, tmp_path: Path) -> None:
    plain, sharded = ImageFolder(write("folder", tmp_path / "plain")), ImageFolder(write(form, tmp_path / form))
    assert sharded.names == plain.names and len(sharded) == 7 and sharded.shape == (3, 6, 8)
    kept = [{key: value for key, value in row.items() if value is not None} for row in sharded.rows]
    assert kept == [{key: value for key, value in row.items() if value is not None} for row in plain.rows]
    ours, theirs = sharded.read(range(7)), plain.read(range(7))
    assert ours.keys() == theirs.keys() >= {"image", "mask", "depth", "gaze", "label", "eye_corners", "rare"}
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=0, equal_nan=True)
    part = sharded.select([5, 2])
    assert torch.equal(part.read([0], ("mask",))["mask"][0], theirs["mask"][5])
    assert torch.equal(part.read([1], ("image",))["image"][0], theirs["image"][2])
    other = ImageFolder(write(form, tmp_path / "other", total=6))
    assert sharded.fingerprint == ImageFolder(tmp_path / form).fingerprint != other.fingerprint


@pytest.mark.parametrize("form", SHARDED)
def test_in_any_order_and_after_a_kill_it_is_the_same(form: Format, tmp_path: Path) -> None:
    whole = tree(write(form, tmp_path / "whole"))
    assert tree(write(form, tmp_path / "backwards", [6, 5, 4, 3, 2, 1, 0])) == whole
    write(form, tmp_path / "killed", [0, 1, 2, 3, 6])  # the second shard is not complete
    with pytest.raises(UserError, match="not finished"):
        ImageFolder(tmp_path / "killed")
    with open_writer(form, tmp_path / "killed", {"seed": 1}, 7, shard=3) as writer:
        assert writer.missing(range(7)) == [3, 4, 5]
        for index in (3, 4, 5):
            writer.write_plan(index, planned(index))
    assert tree(tmp_path / "killed") == whole
    with open_writer(form, tmp_path / "killed", {"seed": 1}, 7, shard=3) as writer:
        assert writer.missing(range(7)) == []
    assert tree(tmp_path / "killed") == whole


@pytest.mark.parametrize("form", SHARDED)
def test_images_can_be_left_out(form: Format, tmp_path: Path) -> None:
    """One of a shard, and a whole shard."""
    with open_writer(form, tmp_path / "out", {"seed": 1}, 7, shard=3) as writer:
        for index in range(7):
            writer.write_plan(index, planned(index)) if index in (0, 2, 6) else writer.skip(index)
    folder = ImageFolder(tmp_path / "out")
    assert folder.names == [f"set/{index:03d}.v1.png" for index in (0, 2, 6)]
    assert torch.equal(folder.read([2], ("mask",))["mask"][0], planned(6).files[1][2])
    record = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert record["num_images"] == 3 and record["dropped"] == [1, 3, 4, 5]
    with open_writer(form, tmp_path / "out", {"seed": 1}, 7, shard=3) as writer:
        assert writer.missing(range(7)) == []
    with pytest.raises(UserError, match="every image"), open_writer(form, tmp_path / "no", {}, 2, shard=3) as writer:
        writer.skip(0), writer.skip(1)


@pytest.mark.parametrize("form", SHARDED)
def test_a_half_written_shard_does_not_count(form: Format, tmp_path: Path) -> None:
    write(form, tmp_path / "out", [0, 1, 2])
    (shard,) = (path for path in (tmp_path / "out").iterdir() if path.suffix in (".tar", ".parquet"))
    shard.write_bytes(b"")
    with open_writer(form, tmp_path / "out", {"seed": 1}, 7, shard=3) as writer:
        assert writer.missing(range(7)) == list(range(7))


@pytest.mark.parametrize("form", SHARDED)
def test_another_set_does_not_go_on_with_it(form: Format, tmp_path: Path) -> None:
    write(form, tmp_path / "out")
    for info, total, shard in (({"seed": 2}, 7, 3), ({"seed": 1}, 9, 3), ({"seed": 1}, 7, 4)):
        with pytest.raises(UserError, match="made with another"):
            open_writer(form, tmp_path / "out", info, total, shard=shard)
    with pytest.raises(UserError, match="made with another"):
        open_writer("folder", tmp_path / "out", {"seed": 1}, 7)
    with pytest.raises(UserError, match="exists already"):
        open_writer(form, tmp_path / "out", {"seed": 1}, 7, shard=3, resume=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        open_writer(form, tmp_path / "mine", {"seed": 1}, 7)


def test_webdataset_opens_it(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="needs the extra migaki[webdataset]")
    folder = write("webdataset", tmp_path / "out")
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert len(urls) == 3 and [sample["__key__"] for sample in found] == [f"{n:09d}" for n in range(7)]
    images = ImageFolder(folder).read(range(7), ("image", "mask"))
    for index, sample in enumerate(found):
        assert sample["json"]["note"] == f"nº {index}" and sample["json"]["file_name"] == f"set/{index:03d}.v1.png"
        pixels = torch.from_numpy(np.array(sample["png"].convert("RGB"))).permute(2, 0, 1) / 255
        torch.testing.assert_close(pixels, images["image"][index])
        assert np.array_equal(np.asarray(sample["mask.png"].convert("L")), images["mask"][index].numpy())


def test_hugging_face_opens_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    folder = write("parquet", tmp_path / "out")
    found = datasets.load_dataset("parquet", data_files=[str(path) for path in sorted(folder.glob("*.parquet"))],
                                  split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(found.features["image"], datasets.Image) and isinstance(found.features["mask"], datasets.Image)
    images = ImageFolder(folder).read(range(7), ("image", "depth"))
    for index, sample in enumerate(found):
        assert sample["note"] == f"nº {index}" and sample["eye_corners"][1][1] == index
        assert sample["rare"] == (1.5 if index == 6 else None)
        pixels = torch.from_numpy(np.array(sample["image"])).permute(2, 0, 1) / 255
        torch.testing.assert_close(pixels, images["image"][index])
        assert np.array_equal(np.asarray(sample["depth"]), images["depth"][index].numpy())


def tar_of_others(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path.parent


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (5, 4), value).save(buffer, "PNG")
    return buffer.getvalue()


def test_tar_files_of_others_need_no_index(tmp_path: Path) -> None:
    members = {"a/x.png": png(10), "a/x.cls": b"2", "a/x.seg.png": png(1), "a/y.PNG": png(20), "a/y.cls": b"0",
               "a/z.txt": b"no image", "README": b"-"}
    folder = ImageFolder(tar_of_others(tmp_path / "set" / "train-0.tar", members))
    assert folder.names == ["train-0/a/x.png", "train-0/a/y.png"] and folder.labels["label"].tolist() == [2, 0]
    assert (folder.read([0, 1], ("image",))["image"][:, 0, 0, 0] * 255).tolist() == [10, 20]
    assert folder.rows[0]["seg_file_name"] == "a/x.seg.png"


def test_without_the_index_it_is_the_same(tmp_path: Path) -> None:
    folder = write("webdataset", tmp_path / "out")
    before = ImageFolder(folder)
    rows, depth = list(before.rows), before.read([4], ("depth",))["depth"]
    (folder / "index.jsonl").unlink()
    after = ImageFolder(folder)
    assert list(after.rows) == rows and after.names == before.names
    assert torch.equal(after.read([4], ("depth",))["depth"], depth)


@pytest.mark.parametrize("what", ["cut", "rubbish", "index", "json", "mixed", "empty"])
def test_damage_is_reported_in_one_line(what: str, tmp_path: Path) -> None:
    folder = write("webdataset", tmp_path / "out")
    shard = folder / "000000.tar"
    if what == "cut":
        shard.write_bytes(shard.read_bytes()[:700])
    elif what == "rubbish":
        (folder / "index.jsonl").unlink()
        shard.write_bytes(b"no tar file" * 200)
    elif what == "index":
        (folder / "index.jsonl").write_text('{"file_name": "a.png", "where": {"file_name": ["../x.tar", 0, 5]}}\n')
    elif what == "json":
        folder = tar_of_others(tmp_path / "other" / "a.tar", {"x.png": png(1), "x.json": b"{"})
    elif what == "mixed":
        (folder / "a.parquet").write_bytes(b"PAR1")
    else:
        folder = tar_of_others(tmp_path / "none" / "a.tar", {"README": b"-"})
    with pytest.raises(UserError) as error:
        ImageFolder(folder).read(range(3), ("image",))
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_parquet_of_other_things_is_no_set(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.table({"a": [1, 2]}), tmp_path / "numbers.parquet")
    with pytest.raises(UserError, match="no column `image`"):
        ImageFolder(tmp_path)
    (tmp_path / "numbers.parquet").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="not a valid Parquet file"):
        ImageFolder(tmp_path)


def test_the_index_has_a_line_an_image(tmp_path: Path) -> None:
    folder = write("webdataset", tmp_path / "out")
    lines = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    for line in lines:
        shard, offset, size = line["where"]["file_name"]
        assert (folder / shard).read_bytes()[offset : offset + size].startswith(b"\x89PNG") and size > 0


@pytest.mark.parametrize("form", SHARDED)
def test_patches_and_pairs_of_damage_come_from_shards_too(form: Format, tmp_path: Path) -> None:
    from migaki.data.batches.patches import PatchSource
    from migaki.simulate.noise import Noise
    from migaki.stages.damage import DamageJob, damage_folder

    folders = [write("folder", tmp_path / "plain"), write(form, tmp_path / form)]
    made = [PatchSource({"target": folder}, channels={"target": 3}, patch=4, batch_size=5, seed=1).batch(2)
            for folder in folders]
    assert torch.equal(made[0]["target"], made[1]["target"])
    out = [damage_folder("noise", Noise(Noise.Config()), DamageJob(input=folder, out=tmp_path / f"out_{folder.name}"),
                         quiet=True) for folder in folders]
    noisy = [ImageFolder(folder / "input").read(range(7), ("image",))["image"] for folder in out]
    assert torch.equal(noisy[0], noisy[1])
