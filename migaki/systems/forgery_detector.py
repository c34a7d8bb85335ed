"""Forgery detector: learns from photographs alone, which it forges for itself; a bandit chooses what is hardest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.core import processes
from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.schedule import one_cycle
from migaki.core.seeds import fold
from migaki.core.source import Source
from migaki.core.system import Sheet, System, descend
from migaki.data.batches.source import FolderSource, MixedSource
from migaki.data.batches.task_source import open_labelled
from migaki.metrics.roc import Roc
from migaki.nets.camera import jpeg_tables
from migaki.nets.forgery_net import ForgeryNet
from migaki.ops import camera_light as camera
from migaki.ops.forgery import KINDS, RATIOS, REGIONS, Choice, Dice, altered, forge, region_levels
from migaki.ops.full_precision import full_precision
from migaki.ops.paint import paint_mask

_SHOWN = 8
_LEAST = 0.02  # share of a crop that must be forged for it to count as forged
_CHANCE = 0.55  # accuracy on crops of which up to half are forged
_PARTS = (("region", REGIONS), ("kind", KINDS), ("ratio", RATIOS))


class ForgeryDetector(System):
    """Tells forged pictures from real ones, where, how and how strongly they were forged; needs no forgery to learn.

    Each step takes crops of photographs, forges a copy of each by rule, encodes real and forged alike, and trains four
    heads: real or forged, location, blending kind, donor's share. What is forged is chosen by three softmaxes (region,
    kind, ratio), which are raised where the detector errs most (policy gradient, after SLADD, CVPR 2022).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is trained and how."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size kinds regions adversarial mask_weight kind_weight ratio_weight",
            "network": "channels height width features crop",
        }

        channels: int = 0  # 0 = as the data
        height: int = 0  # px; 0 = as the data
        width: int = 0  # px; 0 = as the data
        steps: int = 600  # updates
        batch_size: int = 12  # photographs; each is seen as it is and forged
        features: int = 12  # width of the network
        crop: int = 96  # px, side of the crops that are trained on; whole pictures are judged
        regions: tuple[str, ...] = REGIONS  # regions that are forged: face, eyes, nose, mouth, blob
        kinds: tuple[str, ...] = KINDS  # blending kinds that are forged: alpha, gradient, mixup, none
        adversarial: bool = True  # the choice follows what the detector finds hard; off: every choice is equally likely
        explore: float = 0.1  # weight of the entropy of the choice, so that none is given up
        forger_rate: float = 5.0  # learning rate of the choice as a multiple of the network's
        own: float = 0.5  # share of the forgeries whose donor is the photograph itself, altered
        colour_match: float = 0.5  # share of the forgeries whose donor takes the colours of what it covers
        jpeg: tuple[float, float] = (0.1, 0.6)  # steps of the encoder of all crops (1: JPEG of quality 50); 0 0: none
        mask_weight: float = 1.0  # of the location's cross-entropy, in which forged and untouched places count alike
        kind_weight: float = 0.2  # of the blending kind's cross-entropy
        ratio_weight: float = 0.2  # of the error of the donor's share
        learning_rate: float = 4e-3  # peak; one cycle of a cosine with a tenth of warm-up
        weight_decay: float = 1e-2  # AdamW's
        max_norm: float = 5.0  # gradient clipping; 0 = off

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data:
        """Photographs that are believed to be real."""

        data: tuple[Path, ...]  # real photographs; no label is read

    config: Config
    keys = (
        Key(name="forged_score", shape=(), unit="0 to 1, how sure a model is that the picture is forged"),
        Key(name="forged_map", shape=("H", "W"), unit="0 to 1, how sure a model is that the pixel is forged",
            kind="plane"),
        Key(name="kind_scores", shape=("K",), unit="0 to 1, how likely each blending kind is if it is forged"),
        Key(name="ratio_estimate", shape=(), unit="0 to 1, share of the donor if it is forged"),
    )
    region_allowed: Tensor
    kind_allowed: Tensor
    ratio_allowed: Tensor
    tables: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.channels not in (1, 3) or min(config.height, config.width) < 1:
            raise UserError("forgery_detector: channels must be 1 or 3, height and width positive: give --channels 3 "
                            "for colour pictures, which leaves alpha out")
        if not 24 <= config.crop <= min(config.height, config.width):
            raise UserError(f"--crop {config.crop}: crops are at least 24 px and at most as large as the pictures of "
                            f"{config.width} x {config.height} px: give another --crop, or larger pictures")
        if min(config.mask_weight, config.kind_weight, config.ratio_weight, config.explore) < 0:
            raise UserError("--mask-weight, --kind-weight, --ratio-weight and --explore must not be negative")
        low, high = config.jpeg
        if not 0 <= low <= high <= 10:
            raise UserError(f"--jpeg {low:g} {high:g}: give two ascending factors from 0 to 10")
        self.config = config
        self.net = ForgeryNet(config.channels, len(KINDS), config.features)
        self.optimizers = {"net": torch.optim.AdamW(self.net.parameters(), lr=config.learning_rate,
                                                    weight_decay=config.weight_decay)}
        self.choices = nn.ParameterDict({name: nn.Parameter(torch.zeros(len(known)), config.adversarial)
                                         for name, known in _PARTS})
        for name, known in _PARTS:
            chosen = getattr(config, f"{name}s", known)
            strange = [value for value in chosen if value not in known]
            if strange or not chosen:
                raise UserError(f"--{name}s {' '.join(map(str, strange))}: known are {', '.join(map(str, known))}")
            barred = torch.zeros(len(known)).masked_fill(torch.tensor([value not in chosen for value in known]), -1e9)
            self.register_buffer(f"{name}_allowed", barred, persistent=False)
        self.register_buffer("tables", jpeg_tables(), persistent=False)
        if config.adversarial:
            self.optimizers["forger"] = torch.optim.Adam(self.choices.parameters(),
                                                         lr=config.forger_rate * config.learning_rate)

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the photographs: the first folder sets the size, the others are scaled to it."""
        config, folders, _ = open_labelled(config, data.data)
        crop = min(config.crop, config.height, config.width)
        share, shard = max(1, config.batch_size // len(folders)), (processes.rank(), processes.world())
        return replace(config, crop=crop), MixedSource(*(
            FolderSource(folder, share, fold(seed, number), keys=("image",), shard=shard)
            for number, folder in enumerate(folders)))

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """A narrow network on 32x40 photographs."""
        config = cls.Config(channels=3, height=32, width=40, steps=6, batch_size=4, features=4, crop=24)
        draw = torch.Generator().manual_seed(0)
        smooth = F.interpolate(torch.rand(4, 3, 5, 6, generator=draw), (32, 40), mode="bilinear")
        return config, {"image": smooth, "forged": torch.tensor([0, 1, 1, 0])}

    # ---------------------------------------------------------------------------------------------- forging

    def policy(self, name: str) -> Tensor:
        """Returns the log probabilities of the choices of `region`, `kind` or `ratio`."""
        barred: Tensor = getattr(self, f"{name}_allowed")
        return F.log_softmax(self.choices[name].float() + barred, 0)

    def chosen(self, count: int) -> Choice:
        """Draw what is forged in `count` pictures."""
        return Choice(*(torch.multinomial(self.policy(name).detach().exp(), count, replacement=True)
                        for name, _ in _PARTS))

    @full_precision
    def forged_pair(self, photos: Tensor, choice: Choice) -> tuple[Tensor, Tensor, Tensor]:
        """Returns crops of the photographs, the same forged, both encoded alike, and which pixels are forged (B, H, W).

        Whole pictures are forged and then cropped, so that a region of a face lies where it belongs.
        """
        config, count = self.config, len(photos)
        dice = Dice(None, photos.device)
        levels = region_levels(choice.region, config.height, config.width, dice)
        is_own = (dice.uniform(count) < config.own).view(-1, 1, 1, 1)
        donor = torch.where(is_own, altered(photos, dice), photos.roll(1, 0))
        softness, is_matched = 0.05 + 0.35 * dice.uniform(count), dice.uniform(count) < config.colour_match
        made, touched = forge(photos, donor, choice, levels, softness, is_matched)
        both = torch.cat([photos, made, touched[:, None].float()], 1)
        cut = _random_crops(both, config.crop, dice)
        real, forged, mask = cut[:, : config.channels], cut[:, config.channels : -1], cut[:, -1] > 0.5
        low, high = config.jpeg
        if high > 0:
            steps = low + (high - low) * dice.uniform(2 * count)
            encoded = camera.jpeg(torch.cat([real, forged]), self.tables, steps).clamp(0, 1)
            real, forged = encoded[:count], encoded[count:]
        return real, forged, mask

    # ---------------------------------------------------------------------------------------------- training

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step of the detector on real and forged crops, then one of the choice towards what it got wrong."""
        photos, config = batch["image"].float(), self.config
        choice = self.chosen(len(photos))
        real, forged, mask = self.forged_pair(photos, choice)
        one_cycle(self.optimizers["net"], config.learning_rate, step, config.steps)
        said = self.net(torch.cat([real, forged]) * 2 - 1)
        truth = (mask.float().mean((1, 2)) > _LEAST).float()  # a crop beside the region is real
        labels = torch.cat([torch.zeros_like(truth), truth])
        each = F.binary_cross_entropy_with_logits(said.forged, labels, reduction="none")
        masks = torch.cat([torch.zeros_like(mask), mask]).float()[:, None]
        where = F.adaptive_avg_pool2d(masks, said.location.shape[2:])
        location = _balanced(said.location, where)
        kind, ratio = self._of_forged(said.kind[len(photos) :], said.ratio[len(photos) :], choice, truth)
        loss = each.mean() + config.mask_weight * location + config.kind_weight * kind + config.ratio_weight * ratio
        skipped = descend(loss, self.optimizers["net"], config.max_norm)
        scalars = {"net/loss": loss.detach(), "net/forged": each.mean().detach(), "net/location": location.detach(),
                   "net/kind": kind.detach(), "net/ratio": ratio.detach(), "net/skipped": skipped,
                   "net/accuracy": ((said.forged.detach() > 0) == (labels > 0.5)).float().mean()}
        if config.adversarial:
            scalars |= self._forger_step(choice, each[len(photos) :].detach(), truth)
        return scalars

    @full_precision
    def _of_forged(self, kinds: Tensor, ratios: Tensor, choice: Choice, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of kind and donor's share, means over the crops that are forged."""
        count = truth.sum().clamp_min(1)
        kind = (F.cross_entropy(kinds, choice.kind, reduction="none") * truth).sum() / count
        ratio = ((torch.sigmoid(ratios) - choice.shares()).abs() * truth).sum() / count
        return kind, ratio

    def _forger_step(self, choice: Choice, errors: Tensor, truth: Tensor) -> Scalars:
        """Raise the probability of choices on which the detector erred more than on average (REINFORCE).

        The loss is -mean((R - mean R) log p(choice)) - explore * entropy, with R the detector's cross-entropy, over the
        crops that are forged.
        """
        policies = {name: self.policy(name) for name, _ in _PARTS}
        taken = (policies["region"][choice.region] + policies["kind"][choice.kind]
                 + policies["ratio"][choice.ratio] * (choice.kind == KINDS.index("mixup")))
        count = truth.sum().clamp_min(1)
        reward = (errors - (errors * truth).sum() / count) * truth
        entropy = torch.stack([-(log.exp() * log).sum() for log in policies.values()]).sum()
        gain = (reward * taken).sum() / count
        loss = -gain - self.config.explore * entropy
        skipped = descend(loss, self.optimizers["forger"], self.config.max_norm)
        found = {"forger/loss": loss.detach(), "forger/entropy": entropy.detach(), "forger/skipped": skipped}
        for place, name in enumerate(KINDS):
            found[f"forger/kind_{name}"] = policies["kind"][place].detach().exp()
        return found

    # ---------------------------------------------------------------------------------------------- use

    def predict(self, batch: Batch) -> Batch:
        """Return `forged_score` (B,), `forged_map` (B, H, W), `mask` (B, H, W) uint8 where the map is above one half,
        `kind_scores` (B, 4) in the order of `ops.forgery.KINDS`, `ratio_estimate` (B,)."""
        images = batch["image"].float()
        said = self.net(images * 2 - 1)
        size = (images.shape[2], images.shape[3])
        where = torch.sigmoid(F.interpolate(said.location, size=size, mode="bilinear", align_corners=False))[:, 0]
        return {"forged_score": torch.sigmoid(said.forged), "forged_map": where, "mask": (where > 0.5).to(torch.uint8),
                "kind_scores": torch.softmax(said.kind, 1), "ratio_estimate": torch.sigmoid(said.ratio)}

    def metric(self) -> Metric:
        """The area under the ROC curve."""
        return Roc()

    def watch(self, scalars: dict[str, float], step: int) -> list[str]:
        """Warn of a detector that cannot tell its own forgeries."""
        said = super().watch(scalars, step)
        if step > self.config.steps // 2 and scalars["net/accuracy"] < _CHANCE:
            said.append("the detector hardly tells its own forgeries from real crops (accuracy below 55 %): train for "
                        "more --steps, with more photographs, or begin with --kinds none alpha")
        return said

    def sheet(self, batch: Batch) -> Sheet:
        """Return photographs, and the places that are taken for forged."""
        images = batch["image"][:_SHOWN].float()
        return [("photographs", images), ("found", paint_mask(images, self.predict({"image": images})["mask"]))]


@full_precision
def _balanced(scores: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy of places, half of it the mean over what is forged and half over the rest.

    A tenth of all places is forged: by the plain mean a network that is unsure puts none of them above one half.
    """
    forged = (shares * F.softplus(-scores)).sum() / shares.sum().clamp_min(1)
    return (forged + ((1 - shares) * F.softplus(scores)).sum() / (1 - shares).sum().clamp_min(1)) / 2


def _random_crops(images: Tensor, side: int, dice: Dice) -> Tensor:
    """Cut a square of `side` px at a random whole place out of each picture (B, C, H, W)."""
    count, _, height, width = images.shape
    top = (dice.uniform(count) * (height - side + 1)).long()
    left = (dice.uniform(count) * (width - side + 1)).long()
    places = torch.arange(side, device=images.device)
    rows, columns = (top[:, None] + places)[:, :, None], (left[:, None] + places)[:, None]
    which = torch.arange(count, device=images.device).view(-1, 1, 1)
    return images[which, :, rows, columns].permute(0, 3, 1, 2)
