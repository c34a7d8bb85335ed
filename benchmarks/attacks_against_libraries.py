"""FGSM and PGD beside those of foolbox and of the Adversarial Robustness Toolbox: the same bits, or the difference.

    pip install foolbox adversarial-robustness-toolbox      # in an environment of its own
    python benchmarks/attacks_against_libraries.py

A small convolutional network of random weights, 16 random pictures (multiples of 1/255, and not), three sizes of
change, towards a class and away from one. Prints the number of equal comparisons, and the largest difference of those
that are not. foolbox has no targeted FGSM.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from migaki.ops import attacks
from migaki.ops.attacks import Goal

SIZES = (8 / 255, 0.03, 0.3)
STEPS = 7


def network() -> nn.Module:
    """Three layers for pictures of 32x32 px, ten classes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(),
                         nn.Flatten(), nn.Linear(8 * 15 * 15, 10)).eval()


def of_foolbox(net: nn.Module, images: Tensor, goal: Goal, epsilon: float) -> dict[str, Tensor]:
    """What foolbox makes of the pictures."""
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    kind: Any = foolbox.criteria.TargetedMisclassification if goal.is_target else foolbox.criteria.Misclassification
    pgd = foolbox.attacks.LinfPGD(random_start=False, steps=STEPS, abs_stepsize=epsilon / 4)
    found = {"pgd": pgd.run(model, images, kind(goal.classes), epsilon=epsilon)}
    if not goal.is_target:
        fgsm = foolbox.attacks.LinfFastGradientAttack(random_start=False)
        found["fgsm"] = fgsm.run(model, images, kind(goal.classes), epsilon=epsilon)
    return found


def of_art(net: nn.Module, images: Tensor, goal: Goal, epsilon: float) -> dict[str, Tensor]:
    """What the Adversarial Robustness Toolbox makes of the pictures."""
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    shape = tuple(images.shape[1:])
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1))
    options = {"eps": epsilon, "targeted": goal.is_target, "batch_size": len(images)}
    made = {"fgsm": FastGradientMethod(model, **options),
            "pgd": ProjectedGradientDescent(model, eps_step=epsilon / 4, max_iter=STEPS, verbose=False, **options)}
    return {name: torch.from_numpy(attack.generate(images.numpy(), y=goal.classes.numpy()))
            for name, attack in made.items()}


def main() -> None:
    """Compare and print."""
    net = network()
    equal, total, largest = 0, 0, 0.0
    for is_rounded, is_target, epsilon in itertools.product((True, False), (True, False), SIZES):
        images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        images = attacks.rounded(images) if is_rounded else images
        said = net(images).argmax(1)
        goal = Goal((said + 1) % 10 if is_target else said, is_target)
        ours = {"fgsm": attacks.fgsm(net, images, goal, epsilon),
                "pgd": attacks.pgd(net, images, goal, epsilon, epsilon / 4, STEPS)}
        for theirs in (of_foolbox(net, images, goal, epsilon), of_art(net, images, goal, epsilon)):
            for name, made in theirs.items():
                total += 1
                equal += int(torch.equal(made, ours[name]))
                largest = max(largest, float((made - ours[name]).abs().max()))
    print(f"{equal} of {total} comparisons are equal to the bit; largest difference {largest:g}")


if __name__ == "__main__":
    main()
