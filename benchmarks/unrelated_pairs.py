"""Do flow, stereo and moments refuse pictures of different scenes, and take those of one scene? On real pairs.

    MIGAKI_DATA=DIR python benchmarks/unrelated_pairs.py [--width 256]

DIR/scenes holds middlebury_stereo, middlebury_flow/rubberwhale, middlebury_mvs/templeSparseRing, near_duplicate,
fox_270x480 and seven_scenes_rgbd. Pairs of one scene are those that the sets name; pairs of different scenes are the
first pictures of two sets, the second brought to the size of the first. It prints the measures of each pair and, per
command, how many pairs of one scene were refused (false alarms) and how many of different scenes were not.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from migaki.changes.parts.same_scene import agreement
from migaki.changes.stereo import Stereo, least_agreed
from migaki.ops.geometry.flow import FlowSettings, optical_flow
from migaki.ops.geometry.stereo import disparity

Array = np.ndarray[Any, Any]
Pair = tuple[Path, Path]


def read(path: Path, size: tuple[int, int]) -> Array:
    """A picture (H, W, 3) float32 in [0, 1], brought to (width, height)."""
    return np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BOX), np.float32) / 255


def views(pair: Pair, width: int) -> tuple[Array, Array]:
    """Both pictures, `width` px wide at most, with the sides of the first one."""
    first = Image.open(pair[0]).size
    wide = min(width, first[0])
    size = wide, round(first[1] * wide / first[0])
    return read(pair[0], size), read(pair[1], size)


def named(scenes: Path) -> tuple[dict[str, Pair], dict[str, Pair]]:
    """Pairs of one scene: rectified stereo pairs, and others a small step apart."""
    stereo = {name: (scenes / "middlebury_stereo" / name / left, scenes / "middlebury_stereo" / name / right)
              for name, left, right in (("tsukuba", "im3.png", "im4.png"), ("venus", "im2.png", "im6.png"),
                                        ("cones", "im2.png", "im6.png"))}
    whale = scenes / "middlebury_flow" / "rubberwhale"
    others = {"rubberwhale 10 11": (whale / "frame10.png", whale / "frame11.png"),
              "rubberwhale 10 14": (whale / "frame10.png", whale / "frame14.png")}
    for folder in sorted((scenes / "near_duplicate").iterdir()):
        first, second = sorted(folder.glob("*.png"))[:2]
        others[f"near_duplicate {folder.name}"] = first, second
    fox = sorted((scenes / "fox_270x480" / "images").iterdir())
    others |= {f"fox {fox[k].stem} {fox[k + 1].stem}": (fox[k], fox[k + 1]) for k in (0, 5, 11)}
    return stereo, others


def measure(name: str, pair: Pair, width: int, kind: str, counts: dict[str, list[int]]) -> None:
    """Print the measures of a pair, and count the refusals."""
    first, second = views(pair, width)
    planes = first.transpose(2, 0, 1), second.transpose(2, 0, 1)
    there, back = (optical_flow(one, other, FlowSettings()) for one, other in ((first, second), (second, first)))
    found = agreement(*planes, there, back)
    counts.setdefault(f"flow, {kind}", []).append(int(not found.is_one_scene))
    line = f"{kind:16} {name:44} flow: {found.share:6.1%} found back, correlation {found.alike:5.2f}"
    if kind != "one scene":
        settings = Stereo.Config().settings()
        agreed = float(disparity(first, second, settings)[1].mean())
        counts.setdefault(f"stereo, {kind}", []).append(int(agreed < least_agreed(settings.num_disparities)))
        line += f"; stereo: {agreed:6.1%} agreed"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    width = parser.parse_args().width
    if "MIGAKI_DATA" not in os.environ:
        raise SystemExit("set MIGAKI_DATA to the folder of the real data sets")
    scenes = Path(os.environ["MIGAKI_DATA"]) / "scenes"
    stereo, others = named(scenes)
    counts: dict[str, list[int]] = {}
    for kind, pairs in (("rectified", stereo), ("one scene", others)):
        for name, pair in pairs.items():
            measure(name, pair, width, kind, counts)
    firsts = {name if "near" in name else name.split(" ")[0]: pair[0] for name, pair in (stereo | others).items()}
    firsts |= {"temple": min((scenes / "middlebury_mvs" / "templeSparseRing").glob("*.png")),
               "7-Scenes": min((scenes / "seven_scenes_rgbd").glob("*.color.*"))}
    names = list(firsts)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        measure(f"{name} and {other}", (firsts[name], firsts[other]), width, "different scenes", counts)
    for what, refused in counts.items():
        print(f"{what}: {sum(refused)} of {len(refused)} refused", flush=True)


if __name__ == "__main__":
    main()
