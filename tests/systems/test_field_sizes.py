"""Fields render pictures of other sizes than they were trained with: the parts of a picture join to the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import message

from migaki.core.field import open_field
from migaki.ops.camera import cropped
from migaki.systems.nerf import Nerf
from migaki.systems.voxel_field import VoxelField


@pytest.mark.parametrize("cls", [VoxelField, Nerf])
def test_strips_join_to_the_whole(cls: Any) -> None:
    torch.manual_seed(0)
    config, batch = cls.tiny()
    field = cls(config).eval()
    pose, lens = batch["camera_to_world"][:1], batch["intrinsics"][:1]
    with torch.no_grad():
        usual, whole = field.render(pose, lens), field.render(pose, lens, (12, 12))
        parts = [field.render(pose, cropped(lens[0], 0, top)[None], (4, 12)) for top in (0, 4, 8)]
    for name, value in usual.items():
        assert torch.equal(value, whole[name])
        torch.testing.assert_close(torch.cat([part[name] for part in parts], -2), value, atol=1e-4, rtol=1e-4)


def test_what_is_no_field_is_refused(tmp_path: Path) -> None:
    assert "no config.json" in message(lambda: open_field(tmp_path))
