"""Structure from motion by COLMAP (Schoenberger and Frahm, CVPR 2016), through pycolmap: extra migaki[colmap]."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from migaki.ops.geometry.structure import PoseSettings, Structure

Array = np.ndarray[Any, Any]


def find_by_colmap(pictures: Sequence[Array], settings: PoseSettings, intrinsics: Array | None = None) -> Structure:
    """Returns what `structure.find_structure` returns, with COLMAP's features, matches and mapper; on the CPU.

    All pictures are taken by one camera: with `intrinsics` (N, 4) by that of the first, which then stays. One thread
    and one seed, so that two calls give one result. ImportError where pycolmap is missing.
    """
    import pycolmap

    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(0)
    height, width = pictures[0].shape[:2]
    with tempfile.TemporaryDirectory(prefix="migaki_colmap_") as name:
        root = Path(name)
        (root / "pictures").mkdir()
        (root / "models").mkdir()
        for number, picture in enumerate(pictures):
            pixels = np.rint(255 * picture).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels.squeeze()).save(root / "pictures" / f"{number:06d}.png", compress_level=1)
        reading = pycolmap.ImageReaderOptions()
        known = settings.focal if intrinsics is None else 0.0
        if intrinsics is not None:
            reading.camera_model, reading.camera_params = "PINHOLE", ",".join(f"{value:.9g}" for value in intrinsics[0])
        elif known:
            reading.camera_model, reading.camera_params = "SIMPLE_RADIAL", f"{known:.9g},{width / 2},{height / 2},0"
        else:
            reading.camera_model = "SIMPLE_RADIAL"
        extraction, matching = pycolmap.FeatureExtractionOptions(), pycolmap.FeatureMatchingOptions()
        extraction.num_threads = matching.num_threads = 1
        pycolmap.extract_features(root / "all.db", root / "pictures", camera_mode=pycolmap.CameraMode.SINGLE,
                                  reader_options=reading, extraction_options=extraction, device=pycolmap.Device.cpu)
        pycolmap.match_exhaustive(root / "all.db", matching_options=matching, device=pycolmap.Device.cpu)
        mapping = pycolmap.IncrementalPipelineOptions()
        mapping.num_threads, mapping.random_seed, mapping.min_model_size = 1, 0, 2
        is_free = settings.refine and intrinsics is None
        mapping.ba_refine_focal_length = mapping.ba_refine_extra_params = is_free
        models = pycolmap.incremental_mapping(root / "all.db", root / "pictures", root / "models", mapping)
    if not models:
        return Structure(centre=np.array([width / 2, height / 2]), left_out={
            number: "COLMAP found no pair to begin with: take pictures that overlap, from different places"
            for number in range(len(pictures))})
    return _read(max(models.values(), key=lambda model: model.num_reg_images()), len(pictures), (height, width))


def _read(model: Any, count: int, size: tuple[int, int]) -> Structure:
    """A reconstruction of pycolmap as our own structure."""
    poses: dict[int, tuple[Array, Array]] = {}
    for number in model.reg_image_ids():
        image = model.image(number)
        moved = image.cam_from_world()
        poses[int(image.name.split(".")[0])] = (np.array(moved.rotation.matrix()), np.array(moved.translation))
    camera = next(iter(model.cameras.values()))
    bend = float(camera.params[3]) if camera.model_name == "SIMPLE_RADIAL" else 0.0
    points = [point for _, point in sorted(model.points3D.items())]
    left_out = {number: "COLMAP could not place it among the others" for number in range(count) if number not in poses}
    return Structure(
        poses=poses, points=np.array([point.xyz for point in points]).reshape(-1, 3),
        seen_by=np.array([point.track.length() for point in points], np.int64),
        lens=np.array([camera.mean_focal_length(), bend]), centre=np.array([size[1] / 2, size[0] / 2]),
        error=float(model.compute_mean_reprojection_error()), left_out=left_out)
