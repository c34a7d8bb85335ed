"""Recognition of textures and materials: frozen features of a network, pooled without order, and a small head.

Cimpoi, Maji, Kokkinos, Vedaldi, "Deep filter banks for texture recognition, description, and segmentation", IJCV 2016:
what a layer's map holds says more of a texture than where. Features and pooling stay as they are; each picture's row is
computed once and kept while the head learns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.optimizers import adamw
from migaki.core.schedule import one_cycle
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.remembered import PLACE, Remembered, number_images
from migaki.data.batches.task_source import labelled_source, open_labelled
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_labels import agreed_classes, check_names, class_key
from migaki.metrics.classification import Accuracy
from migaki.nets.texture_features import Features, blank_features, open_features
from migaki.ops.fisher import Fisher, fit_fisher
from migaki.ops.pooling import PlainPooling, Pooling

PoolingName = Literal["mean", "mean_sd", "gram", "fisher"]

_PICTURES, _PLACES = 200, 100  # that the Fisher pooling is fitted on: pictures, and places of each
_FISHER = ("middle", "axes", "weights", "means", "variances")


class Texture(System):
    """A linear or small head on pooled features of a network that is never trained; for textures and materials.

    The run holds the network's weights, so it needs no further file.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps network layer pooling hidden validate",
            "network": "channels height width num_classes gaussians parts scales dropout",
        }

        channels: int = 0  # 1 or 3; 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        num_classes: int = 0  # 0 = as the data
        classes: tuple[str, ...] = ()  # their names in the order of the outputs; none = as the data
        network: str = "random"  # features: random, gradients, efficientnet_lite0, or as the file --pretrained holds
        layer: str = ""  # layer or layers (joined by +); empty = the network's usual one
        pooling: PoolingName = "gram"  # mean, mean_sd, gram, or fisher, which is fitted on the data
        gaussians: int = 16  # of the Fisher pooling
        parts: int = 32  # principal axes that it keeps
        scales: tuple[float, ...] = (1.0,)  # sizes of the picture at which it is pooled
        hidden: int = 0  # width of a hidden layer; 0 = a linear head
        dropout: float = 0.5  # of the rows
        steps: int = 600  # updates
        batch_size: int = 64  # images
        learning_rate: float = 3e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 0.1  # AdamW's
        label_smoothing: float = 0.05  # share of each label that is spread over all classes
        max_norm: float = 5.0  # gradient clipping; 0 = off
        validate: float = 0.0  # share of the labelled images that is kept from training, and judged while it runs

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Labelled folders, drawn from equally often."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "pretrained"}

        data: tuple[Path, ...]  # with a class for each image: subfolders, or a column label
        pretrained: Path | None = None  # weights of EfficientNet-Lite0, SqueezeNet 1.1 or VGG (.safetensors)

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.net = blank_features(config.network, with_head="head" in config.layer.split("+"))
        self._layers = self.net.names_of(config.layer)
        widths = {layer.name: layer.channels for layer in self.net.layers}
        self._widths = [widths[name] for name in self._layers]
        if config.pooling == "fisher":
            self._blank_fisher()
        length = len(config.scales) * sum(self._length(width) for width in self._widths)
        self.norm = nn.BatchNorm1d(length, affine=False)
        middle = [nn.Linear(length, config.hidden), nn.ReLU()] if config.hidden else []
        self.head = nn.Sequential(nn.Dropout(config.dropout), *middle,
                                  nn.Linear(config.hidden or length, config.num_classes))
        self.optimizers = {"head": adamw(self.head, config.learning_rate, config.weight_decay)}
        self._kept: Remembered | None = None

    def _blank_fisher(self) -> None:
        config, width = self.config, self._widths[0]
        if len(set(self._widths)) > 1 or config.parts > width:
            raise UserError(f"texture: the fisher pooling keeps {config.parts} axes of layers of equal width, and "
                            f"these have {', '.join(map(str, self._widths))} channels: give one --layer, or fewer "
                            "--parts")
        shapes = {"middle": (width,), "axes": (config.parts, width), "weights": (config.gaussians,),
                  "means": (config.gaussians, config.parts), "variances": (config.gaussians, config.parts)}
        for name in _FISHER:
            fill = torch.eye(*shapes[name]) if name == "axes" else torch.ones(shapes[name])
            self.register_buffer(f"fisher_{name}", fill / (config.gaussians if name == "weights" else 1))

    def _length(self, width: int) -> int:
        """The numbers that pooling makes of a map of so many channels."""
        config = self.config
        return {"mean": width, "mean_sd": 2 * width, "gram": width * (width + 1) // 2,
                "fisher": config.gaussians * (1 + 2 * config.parts)}[config.pooling]

    @property
    def pooling(self) -> Pooling:
        """The pooling, with what was fitted."""
        if self.config.pooling != "fisher":
            return PlainPooling(self.config.pooling)
        return Fisher(**{name: self.get_buffer(f"fisher_{name}") for name in _FISHER})

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the folders: the first sets the size, the others are scaled to it; classes are matched by name."""
        config, folders = _opened(data, config)
        columns = [{"label": class_key(folder)} for folder in folders]
        return config, labelled_source(folders, ("image", "label", PLACE), config.batch_size, seed, columns=columns,
                                       validate=config.validate)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Two sizes of random filters on 16x16 images of three classes."""
        config = cls.Config(channels=3, height=16, width=16, num_classes=3, steps=6, batch_size=4,
                            layer="size_3+size_11", pooling="mean_sd", hidden=5)
        draw = torch.Generator().manual_seed(0)
        return config, {"image": torch.rand(4, 3, 16, 16, generator=draw), "label": torch.tensor([0, 1, 2, 1])}

    def prepare(self, data: Data) -> None:
        """Load the network's weights, fit the pooling, and keep the folders, whose rows are computed once each."""
        source = _network(data, self.config)
        if source is not None:
            missing, _ = self.net.load_state_dict(source.state_dict(), strict=False)
            if missing:
                raise UserError(f"{source.name}: does not hold the weights of layer {self.config.layer}: give another "
                                "--layer, or a file with the whole network")
        _, folders = _opened(data, self.config)
        if self.config.pooling == "fisher":
            self._fit_fisher(folders)
        self._kept = Remembered(folders, ("image", PLACE), lambda batch: {"row": self.rows(batch["image"])})

    def _fit_fisher(self, folders: list[ImageFolder]) -> None:
        draw, found = torch.Generator().manual_seed(0), []
        for folder in folders:
            for place in torch.randperm(len(folder), generator=draw)[: _PICTURES // len(folders) + 1].tolist():
                image = folder.read([place], ("image",))["image"]
                with torch.no_grad():
                    maps = self.net.maps(image, self._layers)
                rows = torch.cat([one[0].flatten(1) for one in maps.values()], 1).T
                found.append(rows[torch.randperm(len(rows), generator=draw)[:_PLACES]])
        try:
            made = fit_fisher(torch.cat(found), parts=self.config.parts, gaussians=self.config.gaussians)
        except ValueError as error:
            raise UserError(f"--pooling fisher: {error}") from error
        if len(made.axes) < self.config.parts:
            raise UserError(f"--pooling fisher: the local features vary along {len(made.axes)} axes alone: give "
                            f"--parts {len(made.axes)}")
        for name in _FISHER:
            self.get_buffer(f"fisher_{name}").copy_(getattr(made, name))

    @torch.no_grad()
    def rows(self, images: Tensor) -> Tensor:
        """Returns the pooled features (B, D) of images (B, C, H, W) in [0, 1], scale by scale and layer by layer."""
        found = []
        for scale in self.config.scales:
            scaled = images if scale == 1 else F.interpolate(
                images, scale_factor=scale, mode="bilinear", align_corners=False, antialias=True)
            maps = self.net.maps(scaled, self._layers)
            found += [self.pooling(maps[layer]) for layer in self._layers]
        return torch.cat(found, 1)

    def update(self, batch: Batch, step: int) -> Scalars:
        """Take one optimiser step of the head on the cross-entropy."""
        config = self.config
        one_cycle(self.optimizers["head"], config.learning_rate, step, config.steps)
        logits, truth = self._logits(self._rows(batch)), batch["label"].long()
        loss = F.cross_entropy(logits, truth, label_smoothing=config.label_smoothing)
        right = (logits.detach().argmax(1) == truth).float().mean()
        skipped = descend(loss, self.optimizers["head"], config.max_norm)
        return {"head/loss": loss.detach(), "head/accuracy": right, "head/skipped": skipped}

    def predict(self, batch: Batch) -> Batch:
        """Return `logits` (B, num_classes) for `image`."""
        return {"logits": self._logits(self.rows(batch["image"]))}

    def _logits(self, rows: Tensor) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):  # rows differ by less than bf16 can tell
            out: Tensor = self.head(self.norm(rows.float()))
        return out

    def _rows(self, batch: Batch) -> Tensor:
        """The rows of a batch: kept from before, if the images are numbered."""
        if self._kept is None or PLACE not in batch:
            return self.rows(batch["image"])
        return self._kept.values(batch[PLACE].tolist())["row"].to(batch["image"].device)

    def metric(self) -> Metric:
        """Accuracy and the confusion matrix."""
        return Accuracy(self.config.num_classes, self.config.classes)


def _opened(data: Texture.Data, config: Texture.Config) -> tuple[Texture.Config, list[ImageFolder]]:
    """The completed configuration, and the folders with their images numbered."""
    config, folders, _ = open_labelled(config, data.data)
    source = _network(data, config)
    if source is not None:
        config = replace(config, network=source.kind, layer=config.layer or source.usual)
    count, names = agreed_classes(folders, config.num_classes, config.classes)
    number_images(folders)
    return replace(config, num_classes=count, classes=names), folders


def _network(data: Texture.Data, config: Texture.Config) -> Features | None:
    """The network whose weights are to be loaded; None for one that needs none."""
    if data.pretrained is not None:
        found = open_features(str(data.pretrained))
        if found.kind == "run":
            raise UserError(f"{data.pretrained}: is a run: give a file of weights (.safetensors)")
        return found
    return None if config.network.partition("=")[0] in ("random", "gradients") else open_features(config.network)


def _check(config: Any) -> None:
    if config.channels not in (1, 3):
        raise UserError(f"texture: images have {config.channels} channels: give --channels 3")
    if config.gaussians < 1 or config.parts < 1 or not config.scales or min(config.scales) <= 0:
        raise UserError("texture: gaussians, parts and scales are above 0")
    check_names("texture", config)
