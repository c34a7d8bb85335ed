"""Under bf16 autocast every op gives the bits that it gives without, and float32 for tensors of 16 bits."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import migaki.losses
import migaki.ops
from migaki.ops.boxes import Labelled
from migaki.ops.full_precision import full_precision

DRAW = torch.Generator().manual_seed(0)


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=DRAW)


PICTURES, WIDE, COLOURS = rand(3, 1, 20, 28), rand(2, 1, 24, 224), rand(2, 3, 12, 16)
POINTS, ANGLES, VECTORS = rand(3, 5, 2) * 20, rand(4, 2) - 0.5, rand(4, 3) - 0.5
CAMERA, PLACES = torch.tensor([[588.03, 587.07, 320.0, 240.0]]), rand(1, 6, 3) * 400 + 300
LOGITS, FEATURES = rand(6, 4) * 6 - 3, rand(6, 32)
NET = nn.Conv2d(1, 1, 3)
WITH_GRADIENT = rand(2, 1, 9, 9).requires_grad_()

BOXES = torch.cat([rand(2, 3, 2) * 30, rand(2, 3, 2) * 20 + 3], 2)
OBJECTS = Labelled(BOXES, torch.tensor([[0, 1, -1], [1, 0, 0]]), torch.tensor([[0, 0, 0], [0, 0, 1]]),
                   rand(2, 3, 2, 3) * 40)
MASK = (rand(2, 9, 11) * 4).long()
MASK[0, :2] = 255
PIXELS = rand(2, 4, 9, 11) * 6 - 3
HEAT = rand(2, 2, 8, 9)
BASES = torch.linalg.qr(rand(2, 27, 27)).Q
MOVES = torch.tensor([[[-1.1, 0, 17.3], [0, 1.1, 0.7]], [[0.9, 0, 1.1], [0, 0.9, -2.3]]])

REGION = (rand(2, 9, 11) > 0.5).float()
GROUP = torch.tensor([0, 1, 2, 0, 1, 2])

POSES = torch.cat([torch.linalg.qr(rand(2, 3, 3)).Q, rand(2, 3, 1) * 4], 2)
LENS, BENDS = torch.tensor([588.03, 587.07, 320.0, 240.0]), torch.tensor([0.058, -0.081, 0.001, 0.002])
MOSAIC, BALANCE = torch.tensor([0, 1, 1, 2]), torch.tensor([1.9, 1.0, 1.6])
MATRIX = torch.tensor([[1.6, -0.5, -0.1], [-0.2, 1.5, -0.3], [0.0, -0.5, 1.5]])
SLOPES, SQUARE = rand(7, 2), rand(2, 3, 32, 32)
PAIRS = torch.eye(6, dtype=torch.bool).roll(3, 1)

CASES: dict[str, tuple[Any, ...]] = {
    "contrastive.nt_xent": (FEATURES, FEATURES.flip(0), 0.3), "contrastive.alignment": (FEATURES, FEATURES.flip(0)),
    "camera.cropped": (LENS, 3.0, 2.0), "camera.distort": (SLOPES, BENDS), "camera.undistort": (SLOPES, BENDS),
    "camera.focus": (POSES,), "camera.look_at": (rand(2, 3) * 4, rand(2, 3)), "camera.orbit": (POSES, 3),
    "camera.pixel_rays": (LENS, POSES[0], 4, 5), "camera.project": (rand(5, 3) * 3 + 2, LENS, POSES[0]),
    "camera.unproject": (rand(5, 2) * 90, rand(5) + 1, LENS, POSES[0]), "camera.resized": (LENS, 0.3),
    "camera.ring": (3, 2.1, 33.0), "camera.rotated": (rand(5, 3), POSES[0]), "camera.world_to_camera": (POSES,),
    "camera.undistort_image": (COLOURS, LENS / 9, BENDS),
    "anscombe.stabilised": (COLOURS, 0.02, 0.01), "anscombe.unstabilised": (COLOURS * 9, 0.02, 0.01),
    "camera.tour_of": (POSES,), "depth.gradient_matching": (COLOURS[:, :1], COLOURS[:, 1:2], COLOURS[:, 2:] > 0.3),
    "depth.scale_invariant": (COLOURS[:, :1], COLOURS[:, 1:2], COLOURS[:, 2:] > 0.3, 0.85),
    "defocus.disc": (2.3,), "defocus.refocused": (COLOURS[0], COLOURS[1, 0] + 1, 90.0, 0.2, 1.3, 4),
    "defocus.spread": (COLOURS[0], 1.7), "raw_light.aligned": (VECTORS.T, VECTORS.flip(0).T + 0.1),
    "raw_light.colours_at": (MOSAIC, 5, 7), "raw_light.demosaicked": (COLOURS[0, 0], MOSAIC),
    "raw_light.developed": (COLOURS, 1.3, "soft"), "raw_light.from_camera": (COLOURS, BALANCE, MATRIX),
    "raw_light.to_camera": (COLOURS, BALANCE, MATRIX), "raw_light.mosaic_of": ("GRBG",),
    "raw_light.mosaicked": (COLOURS[0], MOSAIC), "raw_light.white_of": (COLOURS,),
    "blocks.apart": (VECTORS, VECTORS[:2]), "blocks.divided": (VECTORS, 2),
    "blocks.reaches": (VECTORS, VECTORS[:2], 1.5),
    "blocks.shares": (VECTORS, VECTORS[:2], torch.tensor([0.4, 0.7]), 2.0),
    "colour_affine.shown": (POSES, VECTORS[:2]), "colour_affine.shown_pictures": (POSES[0], COLOURS),
    "colour_affine.undone": (POSES, VECTORS[:2]),
    "contrastive.shared_nce": (FEATURES, FEATURES.flip(0), torch.eye(6).roll(1, 0), 0.3),
    "copies.match_loss": (FEATURES, PAIRS, ~PAIRS & (rand(6, 6) > 0.8), 0.3),
    "copies.shared": (FEATURES, FEATURES.flip(0)),
    "copies.stranger_entropy": (FEATURES, PAIRS, torch.zeros(6, 6, dtype=torch.bool)),
    "copy_views.laid_onto": (COLOURS, COLOURS.flip(0)), "copy_views.mixed": (COLOURS, COLOURS.flip(0), 0.5),
    "copy_views.patched": (COLOURS, COLOURS.flip(0)), "copy_views.written_on": (COLOURS,),
    "mixing.common_share": (rand(4),), "mixing.mixed": (COLOURS, "mixup", rand(2), rand(2, 2)),
    "picture_parts.picture_parts": (SQUARE, 8),
    "pretext.colour_histograms": (COLOURS, (2, 3), 4), "pretext.grey_in_all": (COLOURS,), "pretext.holed": (COLOURS,),
    "pretext.cut_at": (COLOURS, torch.tensor([1, 2]), torch.tensor([0, 3]), 5),
    "pretext.neighbouring": (SQUARE, 0.2, 0.1), "pretext.one_channel_each": (COLOURS, 0.5),
    "pretext.overlapping": (COLOURS,),
    "pretext.quarter_turned": (SQUARE,), "pretext.squared": (COLOURS,),
    "style.covariance": (COLOURS,), "style.shapes_of": (COLOURS,),
    "volume_torch.activated": (FEATURES - 0.5, 0), "volume_torch.contracted": (rand(7, 3) * 6 - 3,),
    "volume_torch.harmonics": (VECTORS, 2), "volume_torch.stretched": (rand(7) * 4, rand(7), rand(7) + 1),
    "contrastive.uniformity": (FEATURES,), "contrastive.effective_rank": (FEATURES,),
    "contrastive.nearest_entropy": (FEATURES, GROUP),
    "linear_light.to_linear": (COLOURS,), "linear_light.to_srgb": (COLOURS,), "linear_light.luminance": (COLOURS,),
    "pooling.mean": (COLOURS,), "pooling.mean_sd": (COLOURS,), "pooling.gram": (COLOURS,),
    "pooling.gram_matrix": (COLOURS,), "pooling.signed_root": (FEATURES,), "pooling.unit": (FEATURES,),
    "style.gram": (COLOURS,), "style.moments": (COLOURS,), "style.content_distance": (COLOURS, COLOURS.flip(0)),
    "style.total_variation": (COLOURS,), "style.smoothed": (COLOURS,),
    "style_colours.luminance_matched": (COLOURS, COLOURS.flip(0)),
    "style_colours.recoloured": (COLOURS, COLOURS.flip(0)),
    "pair_views.covered": (COLOURS, 0.5),
    "appearance.mean_deviation": (COLOURS,),
    "appearance.match_mean_deviation": (COLOURS, rand(2, 3), rand(2, 3)),
    "appearance.quantiles": (COLOURS, 9),
    "appearance.match_quantiles": (COLOURS, rand(2, 3, 9).sort(2).values),
    "appearance.low_amplitudes": (COLOURS, 3),
    "appearance.match_low_amplitudes": (COLOURS, rand(2, 3, 7, 4)),
    "sliced.random_bases": (3, 3, 2), "sliced.sliced_quantiles": (COLOURS, BASES, 3, 9),
    "sliced.match_sliced": (COLOURS, rand(2, 2, 27, 9).sort(3).values, BASES, 3),
    "sharpness.edge_rise": (COLOURS,), "sharpness.match_edge_rise": (COLOURS, torch.tensor([0.3, 0.5])),
    "sharpness.grain": (COLOURS,),
    "sharpness.match_grain": (COLOURS, torch.eye(3).expand(2, 3, 3) * 0.01, COLOURS.flip(0) - 0.5),
    "clusters.coarse_layout": (COLOURS,), "clusters.k_means": (FEATURES, 3),
    "clusters.squared_distances": (FEATURES, FEATURES[:4]),
    "translation.patch_squares": (PICTURES,), "translation.score_accuracy": (PICTURES,),
    "translation.patch_nce": (rand(2, 5, 8) - 0.5, rand(2, 5, 8) - 0.5, 0.07),
    "camera_light.tone_curve": (COLOURS, rand(2), rand(2, 4)),
    "camera_light.mix_channels": (COLOURS, rand(2, 3, 3), rand(2, 3)),
    "camera_light.local_gain": (COLOURS, rand(2, 2, 3, 3, 3)),
    "camera_light.lens_blur": (COLOURS, rand(2, 4), rand(2, 4)),
    "camera_light.vignette": (COLOURS, rand(2)), "camera_light.jpeg": (COLOURS, rand(2, 8, 8) * 40, rand(2)),
    "camera_light.grain": (COLOURS, rand(2, 4, 12, 16), rand(2, 3), rand(2), rand(2)),
    "statistics.picture_statistics": (COLOURS,), "statistics.band_energies": (COLOURS, 4),
    "statistics.unevenness": (COLOURS,), "statistics.standardised": (FEATURES, FEATURES[:4]),
    "statistics.sliced_wasserstein": (FEATURES[:3], FEATURES[3:], rand(32, 5) - 0.5),
    "augment.colour_jitter": (COLOURS, 0.2), "augment.scene_looks": (COLOURS,),
    "boxes.overlaps": (BOXES, BOXES.flip(1)), "boxes.intersections": (BOXES, BOXES.flip(1)),
    "boxes.encode": (OBJECTS, 2, (12, 14), 4), "boxes.decode": (HEAT, rand(2, 8, 8, 9), 4, 10, 0.1),
    "boxes.to_object_maps": (HEAT * 4, rand(2, 8, 8, 9)), "boxes.from_object_maps": (rand(2, 8, 8, 9), 3),
    "paint.paint_mask": (rand(2, 1, 9, 11), MASK), "paint.class_colours": (9,),
    "paint.outline": (rand(2, 1, 50, 50), BOXES, torch.ones(2, 3, dtype=torch.bool), (0.9, 0.1, 0.1)),
    "scene_moves.draw_moves": (PICTURES, True, 0.3, 0.1), "scene_moves.move_images": (COLOURS, MOVES),
    "scene_moves.move_planes": (rand(2, 12, 16), MOVES, 7.0), "scene_moves.move_points": (rand(2, 5, 2) * 200, MOVES),
    "scene_moves.move_boxes": (BOXES, MOVES, (40, 50)),
    "segmentation.pixel_cross_entropy": (PIXELS, MASK), "segmentation.soft_dice": (PIXELS, MASK),
    "segmentation.masked_l1": (PIXELS[:, 0], PIXELS[:, 1], (MASK != 255).float()),
    "segmentation.masked_gradients": (PIXELS[:, 0], PIXELS[:, 1], (MASK != 255).float()),
    "detection.centre_focal": (HEAT * 6 - 3, HEAT.round(decimals=1), torch.ones(2, 1, 8, 9)),
    "detection.weighted_l1": (PIXELS, PIXELS.flip(0), rand(2, 1, 9, 11)),
    "consistency.pixel_class_drift": (PIXELS, PIXELS.flip(0)), "consistency.map_drift": (PIXELS, PIXELS.flip(0)),
    "augment.translate": (PICTURES, 3),
    "augment.affine": (WIDE, 4.0, 0.1, 0.3),
    "augment.affine_and_turn": (WIDE, 4.0, 0.1, 0.3),
    "augment.brightness_contrast": (PICTURES, 0.1, 0.3),
    "augment.random_blur": (PICTURES, 1.2),
    "augment.equalise": (WIDE,),
    "augment.light": (PICTURES, 0.3),
    "augment.cutout": (PICTURES, 0.3),
    "augment.discriminator_augment": (PICTURES,),
    "colour.rgb_to_ycbcr": (COLOURS,),
    "colour.ycbcr_to_rgb": (COLOURS,),
    "colour.studio_luma": (COLOURS,),
    "colour.luma": (COLOURS,),
    "colour.rgb_to_lab": (COLOURS,),
    "colour.lab_to_rgb": (COLOURS * 80,),
    "depth.project": (PLACES, CAMERA),
    "depth.unproject": (PLACES, CAMERA),
    "depth.crop_camera": (CAMERA, PLACES[:, 0], 300.0, (64, 96)),
    "depth.normalise_depth": (PICTURES[:, 0] * 1000, torch.full((3,), 500.0), 300.0),
    "filtering.box_filter": (PICTURES, 2),
    "filtering.guided_filter": (PICTURES, PICTURES.flip(0), 2, 0.1),
    "filtering.gaussian_kernel": (1.3, 4, PICTURES),
    "filtering.gaussian_blur": (PICTURES, 1.3),
    "full_precision.full_precision": (),
    "gaze.to_vector": (ANGLES,),
    "gaze.to_angles": (VECTORS,),
    "gaze.angle_between": (VECTORS, VECTORS.flip(0)),
    "gaze.mirror": (ANGLES,),
    "gaze.roll": (ANGLES, rand(4)),
    "histogram.equalise": (PICTURES,),
    "landmarks.to_cells": (POINTS, 4),
    "landmarks.to_pixels": (POINTS, 4),
    "landmarks.soft_argmax": (rand(2, 3, 14, 18) * 5, 4),
    "landmarks.gaussian_maps": (POINTS, (14, 18), 4, 1.0),
    "landmarks.inside": (POINTS, 20, 28),
    "landmarks.turn_and_crop": (WIDE, rand(2, 5, 2) * 200, 0.3, 0.1, 0.06),
    "landmarks.mark": (PICTURES, POINTS, (0.9, 0.1, 0.1)),
    "strokes.frame_ink": (PICTURES, 28, 20), "strokes.frame_ink_moves": (PICTURES, 28, 20),
    "strokes.rewrite": (PICTURES,),
    "strokes.pen_width": (PICTURES, rand(3) - 0.5),
    "tiling.apply_tiled": (lambda tile: tile * 2, PICTURES[0]),
    "tiling.tiled_rows": (lambda tile: tile * 2, PICTURES[0]),
    "augment.photometric": (COLOURS, 0.5),
    "circles.to_circle": (ANGLES, 6.28), "circles.from_circle": (rand(4, 2) - 0.5, 360.0),
    "circles.difference": (ANGLES * 300, ANGLES.flip(0) * 300, 360.0), "circles.mean_on_circle": (rand(7) * 360, 360.0),
    "multi_hot.multi_hot": (torch.tensor([[0, 2, -1], [-1, -1, -1]]), 4),
    "heat_maps.heat_map_loss": (rand(2, 3, 5, 6, 7) * 5, POINTS, torch.ones(3, 5), 4, 1.0, 0.5),
    "robust.masked_distance": (FEATURES, (FEATURES > 0.3).float()),
    "consistency.labels_drift": (LOGITS, LOGITS.flip(0)),
    "consistency.turned_drift": (rand(6) * 360, rand(6) * 360, 360.0),
    "adaptation.mutual_information": (LOGITS,),
    "adaptation.class_thresholds": (rand(4), 0.9), "adaptation.known_images": (LOGITS.softmax(1), 0.9, 0.05),
    "adaptation.moved_sureness": (rand(4), LOGITS.softmax(1), rand(6), 0.9),
    "adversarial.mean_accuracy": ([PICTURES - 0.5, COLOURS],), "adversarial.mean_cross_entropy": ([PICTURES, COLOURS],),
    "candidates.easiness": ([MASK % 3, MASK.flip(2) % 3], 3), "candidates.hard": (PIXELS.softmax(1),),
    "distinct_maps.distinct": (PIXELS,), "distinct_maps.squashed": (PIXELS,), "distinct_maps.unit": (PIXELS,),
    "distinct_maps.otsu": (rand(2, 40), rand(2, 40) > 0.2),
    "distinct_maps.joined": ([PIXELS, PIXELS.flip(0)], (18, 22)),
    "distinct_maps.saliency": (PIXELS,), "distinct_maps.class_shares": (PIXELS / 6, torch.tensor(0.4)),
    "membrane.membrane": (COLOURS, (COLOURS[:, :1] > 0.5).float()),
    "overlay.overlay": (COLOURS, COLOURS[:, 0]), "overlay.scaled_map": (PIXELS[:, :1],),
    "photograph.photograph_augment": (COLOURS,), "photograph.photometric_distortion": (COLOURS,),
    "self_regularisation.lowpass": (COLOURS,),
    "adaptation.confident_cross_entropy": (LOGITS, LOGITS.flip(0).softmax(1), 0.3),
    "adaptation.centroid_labels": (FEATURES, FEATURES[:4] + 0.01),
    "adaptation.moved_centroids": (FEATURES[:4], FEATURES, LOGITS.softmax(1), 0.9),
    "adaptation.domain_cross_entropy": (LOGITS[:, :1],),
    "adversarial.patch_cross_entropy": (PICTURES,),
    "adversarial.patch_accuracy": (PICTURES - 0.5,),
    "adversarial.gradient_penalty": (NET(WITH_GRADIENT), WITH_GRADIENT),
    "consistency.relative_drift": (ANGLES, ANGLES + 0.01 * VECTORS[:, :2]),
    "consistency.class_drift": (LOGITS, LOGITS + 0.01),
    "consistency.label_drift": ({"gaze": ANGLES, "logits": LOGITS}, {"gaze": ANGLES.flip(0), "logits": LOGITS.flip(0)}),
    "self_regularisation.identity": (COLOURS,),
    "self_regularisation.channel_mean": (COLOURS,),
    "self_regularisation.gradients": (COLOURS,),
    "self_regularisation.self_regularisation": (COLOURS, COLOURS.flip(0)),
}
KEYWORDS = {"adaptation.domain_cross_entropy": {"is_target": True},
            "adversarial.patch_cross_entropy": {"is_refined": True},
            "adversarial.patch_accuracy": {"is_refined": False},
            "adversarial.mean_accuracy": {"is_refined": False}, "adversarial.mean_cross_entropy": {"is_refined": True},
            "distinct_maps.saliency": {"positive": True},
            "translation.patch_squares": {"is_refined": True}, "translation.score_accuracy": {"is_refined": False}}
# What takes no pictures or labels of 16 bits: a graph of autograd, any network, what keeps a type by design.
KEEPS_ITS_TYPE = {"adversarial.gradient_penalty", "consistency.label_drift", "filtering.gaussian_kernel",
                  "full_precision.full_precision", "boxes.encode", "scene_moves.move_planes",
                  "copies.match_loss", "copies.stranger_entropy", "copies.shared", "picture_parts.picture_parts",
                  "pretext.cut_at", "pretext.holed", "pretext.neighbouring", "pretext.one_channel_each",
                  "pretext.overlapping", "pretext.quarter_turned", "pretext.squared",  # pixels are moved alone
                  "landmarks.inside", "self_regularisation.identity",
                  "tiling.apply_tiled", "tiling.tiled_rows"}
NO_TENSORS = {"blocks.tree", "gaze.problem_of", "distinct_maps.class_gradients",  # arrays or lists of NumPy; a network
              "regions.fill_outline", "regions.fill_outlines", "regions.region_of_runs", "regions.runs_of_region",
              "regions.unpack_runs",
              # a recipe, a width or several maps of their own beside the tensors
              "copy_views.copy_views", "copy_views.moved", "pair_views.coloured_views", "picture_parts.side_of",
              "pretext.patch_layout", "style.num_parts", "volume_torch.leaves", "volume_torch.march",
              "volume_torch.span", "linear_light.blend", "linear_light.feather",
              "pair_views.altered_views", "pair_views.crop_matrices",
              "pair_views.pair_views", "style.sliced_distance", "style.sliced_quantiles", "style.standardised",
              "style.unit_directions", "style.weights_for", "style_colours.with_colours_of"}


# Modules whose functions take a network, drawn views or a lattice rather than tensors alone.
WITHOUT_CASES = {"albedo", "camera_poses", "depth_fusion", "gltf", "mesh", "sound", "volume_grid",  # NumPy, float64
                 "mesh_raster", "sun_light", "sun_shadow", "texture_atlas", "volume_jit",
                 "attacks", "attribution", "attribution_layers", "attribution_patterns", "cutout", "dense_crf",
                 "explaining", "fisher", "forgery", "guided", "guided_style", "label_noise", "linear_svm", "patches",
                 "perceptual", "permutohedral", "pixel_descent", "reranking", "rules", "shuffled", "slic",
                 "style_clusters", "surface_light", "taps", "units", "views"}


def public_functions(package: ModuleType) -> dict[str, Callable[..., Any]]:
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        whole = importlib.import_module(f"{package.__name__}.{module.name}")
        found |= {f"{module.name}.{name}": value for name, value in vars(whole).items()
                  if inspect.isfunction(value) and value.__module__ == whole.__name__ and not name.startswith("_")}
    return found


FUNCTIONS = public_functions(migaki.ops) | public_functions(migaki.losses)


def call(name: str, arguments: tuple[Any, ...]) -> list[Tensor]:
    """The tensors that a function returns, its draws seeded."""
    torch.manual_seed(7)
    result = FUNCTIONS[name](*arguments, **KEYWORDS.get(name, {}))
    if isinstance(result, Tensor):
        return [result]
    return [part for item in result for part in (item if isinstance(item, tuple) else (item,))
            if isinstance(part, Tensor)]


def test_every_public_function_has_a_case() -> None:
    missing = "a function of ops/ or losses/ is new or gone: give it a case above"
    found = {name for name in FUNCTIONS if name.partition(".")[0] not in WITHOUT_CASES}
    assert found - NO_TENSORS == set(CASES), missing


@pytest.mark.parametrize("name", sorted(set(CASES) - {"full_precision.full_precision"}))
def test_autocast_changes_no_bit(name: str) -> None:
    expected = call(name, CASES[name])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = call(name, CASES[name])
    assert expected and len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("name", sorted(set(CASES) - KEEPS_ITS_TYPE))
def test_what_comes_in_16_bits_is_computed_in_32(name: str) -> None:
    short = tuple(value.bfloat16() if isinstance(value, Tensor) else value for value in CASES[name])
    expected = call(name, tuple(value.float() if isinstance(value, Tensor) else value for value in short))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = call(name, short)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.dtype != torch.bfloat16 and torch.equal(one, other)


def test_the_decorator_leaves_autocast_on_for_others_and_types_alone() -> None:
    product = full_precision(lambda a, *, b: a @ b)
    a, b = torch.rand(3, 4), torch.rand(4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(a, b=b).dtype == torch.float32
        assert (a @ b).dtype == torch.bfloat16
    assert product(a.double(), b=b.double()).dtype == torch.float64
    assert product(a.long(), b=b.long()).dtype == torch.int64


def test_a_network_reads_angles_out_in_float32() -> None:
    from migaki.nets.gaze_cnn import PaperGazeNet
    from migaki.nets.small_resnet import SmallResNet

    for net in (SmallResNet(1, 24, 40, 2, features=4), PaperGazeNet(1, 24, 40)):
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            out = net.eval()(rand(16, 1, 24, 40))
        assert out.dtype == torch.float32 and not torch.equal(out, out.bfloat16().float())
