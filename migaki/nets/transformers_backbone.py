"""SegFormer and RT-DETR as backbones, from a local folder of weights through `transformers` (`migaki[transformers]`).

A folder holds `config.json` and `model.safetensors`, as `save_pretrained` writes them and as they are published.
Nothing is fetched, nothing is unpickled, and no code in the folder is run. Of SegFormer (Xie et al., NeurIPS 2021) the
encoder is taken, of RT-DETR (Zhao et al., CVPR 2024) the residual network and the hybrid encoder; the decoders are left
out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import read_json, show
from migaki.nets.backbone import Backbone
from migaki.nets.pretrained import Kind, build_backbone, load_backbone, published_kind

SceneKind = Literal["", "efficientnet_lite0", "squeezenet1_1", "segformer", "rt_detr"]
"""The known backbones of dense tasks; empty for none."""

_ARCHITECTURES: Final = ("segformer", "rt_detr")
_MOST_WIDTH, _MOST_DEPTH = 8192, 256  # of a configuration: larger ones are no such network
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as SegFormer was trained


def transformers() -> Any:
    """Returns the optional package; UserError without it."""
    try:
        import transformers as package
    except ImportError as error:
        raise UserError("--pretrained: SegFormer and RT-DETR need the package transformers: pip install "
                        "'migaki[transformers]'") from error
    return package


class TransformersBackbone(Backbone):
    """SegFormer's encoder (strides 4, 8, 16, 32) or RT-DETR's (strides 8, 16, 32), with random weights.

    `described` is the JSON of its configuration. Raises UserError without the package, and for a configuration that is
    none or describes another network.
    """

    def __init__(self, kind: str, described: str) -> None:
        super().__init__()
        config = _configuration(kind, described)
        package = transformers()
        try:
            model = (package.SegformerModel if kind == "segformer" else package.RTDetrModel)(config)
        except Exception as error:  # whatever the package raises for values that do not fit together
            raise _unfit(kind, error) from error
        self.kind = kind
        if kind == "segformer":
            self.encoder = model
            self.widths = tuple(config.hidden_sizes)
            self.strides = (4, 8, 16, 32)
        else:
            self.encoder = model.encoder
            self.trunk, self.projections = model.backbone, model.encoder_input_proj
            self.widths = (config.encoder_hidden_dim,) * 3
            self.strides = (8, 16, 32)
        if len(self.widths) != len(self.strides):
            raise UserError(f"--pretrained: a {kind} of {len(self.widths)} stages is not known: give one of "
                            f"{len(self.strides)}")
        scale = (_MEAN, _DEVIATION) if kind == "segformer" else ((0.0,) * 3, (1.0,) * 3)  # RT-DETR takes [0, 1]
        for name, values in zip(("middle", "spread"), scale, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    middle: Tensor
    spread: Tensor

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the features, the finest first."""
        pixels = (images - self.middle) / self.spread
        if self.kind == "segformer":
            found = self.encoder(pixel_values=pixels, output_hidden_states=True).hidden_states
            return [one for one in found if one.dim() == 4][-len(self.widths):]
        mask = torch.ones(len(images), *images.shape[2:], dtype=torch.int64, device=images.device)
        levels = [project(one) for project, (one, _) in zip(self.projections, self.trunk(pixels, mask), strict=True)]
        return list(self.encoder(levels).last_hidden_state)


def scene_backbone(kind: SceneKind, described: str, channels: int, height: int, width: int) -> Backbone:
    """Returns a backbone with random weights; UserError for images that it cannot take."""
    if kind == "segformer" or kind == "rt_detr":
        if channels not in (1, 3) or min(height, width) < 32:
            raise UserError(f"--pretrained: images of {width}x{height} px in {channels} channels: it takes grey and "
                            "RGB of at least 32x32: give --channels 3 and a larger --height and --width")
        return TransformersBackbone(kind, described)
    known: Kind = kind
    return build_backbone(known, channels, height, width)


def scene_kind(path: Path) -> tuple[SceneKind, str]:
    """Returns which backbone a file or a folder holds, and the JSON of its configuration (empty for a file).

    UserError for anything else.
    """
    if not path.is_dir():
        return published_kind(path), ""
    if not (path / "config.json").is_file() or not (path / "model.safetensors").is_file():
        raise UserError(f"{show(path)}: holds no config.json with model.safetensors beside it: give the folder of a "
                        "SegFormer or RT-DETR, or a file of weights, as --pretrained")
    values = read_json(path / "config.json")
    found = values.get("model_type") if isinstance(values, dict) else None
    for kind in _ARCHITECTURES:
        if found == kind:
            described = json.dumps(values, sort_keys=True)
            _configuration(kind, described)
            return kind, described
    raise UserError(f"{show(path / 'config.json')}: describes '{show(str(found))}', not one of "
                    f"{', '.join(_ARCHITECTURES)}: give the folder of one of these as --pretrained")


def load_scene_backbone(backbone: Backbone, path: Path) -> None:
    """Load the weights of the file or folder `path` (see `scene_kind`) into a backbone."""
    if not isinstance(backbone, TransformersBackbone):
        load_backbone(backbone, path)
        return
    package = transformers()
    cls = package.SegformerModel if backbone.kind == "segformer" else package.RTDetrModel
    described = json.dumps(read_json(path / "config.json"))
    try:
        model = cls.from_pretrained(path, config=_configuration(backbone.kind, described), local_files_only=True,
                                    use_safetensors=True, trust_remote_code=False)
        if backbone.kind == "segformer":
            backbone.encoder.load_state_dict(model.state_dict())
            return
        for own, other in ((backbone.encoder, model.encoder), (backbone.trunk, model.backbone),
                           (backbone.projections, model.encoder_input_proj)):
            own.load_state_dict(other.state_dict())
    except Exception as error:  # whatever the package raises for a damaged file
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{show(path)}: its weights cannot be read ({show(reason)}): fetch the folder again") from error


def _configuration(kind: str, described: str) -> Any:
    """The configuration of the package, from JSON; what it says of other networks to fetch is refused."""
    package = transformers()
    try:
        values = json.loads(described)
        _check_numbers(values)
        inner = values.get("backbone_config") or {}
        if kind == "rt_detr" and inner.get("model_type", "rt_detr_resnet") != "rt_detr_resnet":
            raise ValueError(f"its backbone is '{inner['model_type']}'")
        if values.get("backbone") or values.get("use_pretrained_backbone") or values.get("use_timm_backbone"):
            raise ValueError("its backbone is to be fetched")
        return (package.SegformerConfig if kind == "segformer" else package.RTDetrConfig).from_dict(values)
    except Exception as error:
        raise _unfit(kind, error) from error


def _check_numbers(value: Any, name: str = "") -> None:
    """ValueError for widths and depths that no such network has: they would fill the memory."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in ("id2label", "label2id"):
                _check_numbers(part, str(key))
    elif isinstance(value, list | tuple):
        for part in value:
            _check_numbers(part, name)
    most = _MOST_DEPTH if "depth" in name or "layers" in name else _MOST_WIDTH
    if isinstance(value, int) and name != "positional_encoding_temperature" and abs(value) > most:
        raise ValueError(f"{name} is {value}")


def _unfit(kind: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:120]
    return UserError(f"--pretrained: its config.json is none of a {kind} ({show(reason)}): fetch the folder again")
