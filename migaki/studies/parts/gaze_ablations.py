"""The gaze study's ablations: one change at a time to the refiner, everything else as in the other arms."""

from __future__ import annotations

from dataclasses import dataclass, replace

from migaki.studies.parts.gaze_recipe import GazeRecipe
from migaki.systems.simgan import SimGAN


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """One refiner that differs from the default one."""

    group: str  # what is varied
    name: str
    slug: str
    config: SimGAN.Config


GROUPS = {
    "history": "History of refined images (sec. 2.3)",
    "discriminator": "Local or global discriminator (sec. 2.2)",
    "psi": "Feature map psi of the self-regularisation (eq. 4)",
    "lambda": "Weight lambda of the self-regularisation (eq. 4)",
    "consistency": "Label consistency through an estimator (ours)",
    "refiner_steps": "Refiner steps a round, K_g (Algorithm 1)",
    "recipe": "The paper's recipe against our defaults",
}
"""What is varied, by group, in the order of the page."""


def ablations(recipe: GazeRecipe) -> list[Ablation]:
    """Returns all variants of the default refiner `recipe.refiner()`, with equal budgets (see `equal_budget`)."""
    base = recipe.refiner()

    def one(group: str, name: str, slug: str, **changes: object) -> Ablation:
        return Ablation(group=group, name=name, slug=slug, config=replace(base, **changes))  # type: ignore[arg-type]

    variants = [
        one("history", "no history", "history_off", history=0),
        one("discriminator", "global discriminator", "global", is_global=True),
        one("psi", "psi: gradients", "psi_gradients", psi="gradients"),
        one("psi", "psi: learned features", "psi_features", psi="features"),
        *(one("lambda", f"lambda {base.lambda_reg * times:g}", f"lambda_{base.lambda_reg * times:g}".replace(".", "_"),
              lambda_reg=base.lambda_reg * times) for times in (0.1, 10.0, 100.0)),
        one("consistency", "no label consistency", "consistency_off", consistency=0.0),
        *(one("refiner_steps", f"K_g = {count}", f"refiner_steps_{count}", num_refiner_steps=count)
          for count in (2, 10, 50)),
        Ablation(group="recipe", name="the paper's recipe, scaled down", slug="paper",
                 config=paper_recipe(base)),
    ]
    return [replace(variant, config=equal_budget(variant.config, base)) for variant in variants]


def equal_budget(config: SimGAN.Config, base: SimGAN.Config) -> SimGAN.Config:
    """Returns the configuration with as many rounds as give both networks together as many descents as in `base`.

    Pre-training is not counted, since it is a part of the recipe. With K_g = 50 the same budget allows few rounds, and
    therefore few steps of the discriminator.
    """
    before = base.refiner_pretraining + base.discriminator_pretraining
    descents = max(0, base.steps - before) * (base.num_refiner_steps + base.num_discriminator_steps)
    rounds = max(1, round(descents / (config.num_refiner_steps + config.num_discriminator_steps)))
    return replace(config, steps=config.refiner_pretraining + config.discriminator_pretraining + rounds)


def paper_recipe(base: SimGAN.Config) -> SimGAN.Config:
    """`SimGAN.Config.paper()` with our batch, a history of as many batches, and pre-training scaled as the rounds are.

    No label consistency: the paper has none.
    """
    paper = SimGAN.Config.paper()
    share = min(1.0, base.steps / paper.steps)
    return replace(paper, batch_size=base.batch_size, history=paper.history * base.batch_size // paper.batch_size,
                   refiner_pretraining=max(1, round(paper.refiner_pretraining * share)),
                   discriminator_pretraining=max(1, round(paper.discriminator_pretraining * share)), consistency=0.0)
