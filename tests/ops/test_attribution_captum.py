"""The same maps as captum's, to 1e-5, where captum is installed; without it the naive twins beside this file remain."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from toy_nets import Pooled, pictures, ready

from migaki.ops import attribution as a
from migaki.ops import attribution_layers

if importlib.util.find_spec("captum"):
    def test_captums_maps() -> None:
        import captum.attr as captum  # type: ignore[import-not-found]

        model, images, targets = ready(Pooled()), pictures(height=12, width=12), torch.tensor([0, 3, 1])
        start = torch.zeros_like(images)
        pairs: list[tuple[Any, Any]] = [
            (a.gradient(model, images, targets), captum.Saliency(model).attribute(images, target=targets, abs=False)),
            (a.gradient_x_input(model, images, targets),
             captum.InputXGradient(model).attribute(images, target=targets)),
            (a.integrated_gradients(model, images, targets, steps=20), captum.IntegratedGradients(model).attribute(
                images, start, target=targets, n_steps=20, method="riemann_middle")),
            (a.guided(model, images, targets), captum.GuidedBackprop(model).attribute(images, target=targets)),
            (a.occlusion(model, images, targets, 4, 2, 0.5), captum.Occlusion(model).attribute(
                images, (3, 4, 4), (3, 2, 2), 0.5, target=targets)[:, 0]),
            (attribution_layers.grad_cam(model, images, targets, "last"), captum.LayerGradCam(
                model, model.get_submodule("last")).attribute(images, target=targets, relu_attributions=True)[:, 0])]
        for ours, theirs in pairs:
            assert torch.allclose(ours, theirs.detach(), atol=1e-5)

