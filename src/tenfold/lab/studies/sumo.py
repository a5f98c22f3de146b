"""Unbiased log marginal likelihoods by randomised truncation (arXiv 2004.00353).

A closed form; autoencoders of digits; a funnel fitted by reverse KL; policies over 20 bits.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from tenfold import _papers, sumo
from tenfold.lab.studies import _sumo_figures as figures
from tenfold.lab.studies import _sumo_funnel as funnel
from tenfold.lab.studies import _sumo_gaussian as gaussian
from tenfold.lab.studies import _sumo_policy as policy
from tenfold.lab.studies import _sumo_vae as vae
from tenfold.lab.studies._sumo_claims import CLAIMS, DIFFERENCES
from tenfold.lab.study import Arm, Preset, Study


@dataclass(frozen=True)
class Config:
    draws: int = 400_000
    """Estimates of the closed form."""
    encoder_steps: int = 300
    """Steps of the closed form's encoder along the second moment."""
    k: int = 4
    """Samples of the bounds that SUMO is set beside."""
    m: int = 1
    """Samples that each of SUMO's series begins with."""
    s: float = 1.5
    """Pr(K >= j) = j^-s: 2.61 samples more, on average."""
    data: Literal["digits", "mnist"] = "digits"
    """The images: scikit-learn's, or MNIST (from TENFOLD_DATA or by download)."""
    steps: int = 3000
    batch: int = 100
    rate: float = 4e-3
    clip: float = 100.0
    """Largest norm of a net's gradient; how often it is met is reported."""
    latent: int = 10
    width: int = 64
    depth: int = 1
    every: int = 250
    """Steps between two looks at validation images."""
    validation: int = 240
    tests: int = 360
    evaluate: int = 1000
    """Samples of the bound that test images are judged by."""
    target: float = 24.5
    """Validation NLL, in nats, to which training is timed."""
    funnel_steps: int = 3000
    funnel_batch: int = 64
    funnel_rate: float = 2e-3
    funnel_width: int = 64
    funnel_tests: int = 4000
    policy_steps: int = 3000
    policy_batch: int = 64
    policy_rate: float = 2e-3
    explicit_rate: float = 2e-2
    """Learning rate of the policies without a net."""
    policy_width: int = 64
    policy_tests: int = 4000
    temperature: float = 1.0
    """tau, of the entropy."""


def sumo_rows(config: Config, ladder: sumo.Ladder | None = None) -> Any:
    """(number, batch) -> a stratified plan."""
    tail = sumo.PowerTail(config.s)
    if ladder is None:
        mean = config.batch * sumo.expected_rows(tail, config.m, "loo")
        ladder = sumo.Ladder.around(mean, ratio=1.25, multiple=128)

    def rows(number: int, batch: int) -> sumo.RowPlan:
        return sumo.RowPlan.draw(number, batch, tail, config.m, ladder=ladder, stratified=True)

    return rows


def no_rows(number: int, batch: int) -> None:
    del number, batch


def train_sumo(
    config: Config, key: Any, run: Any, *, ladder: sumo.Ladder | None = None
) -> dict[str, Any]:
    rows = sumo_rows(config, ladder)
    return vae.train(config, key, run, loss=vae.OfSumo("bound"), rows=rows)


def train_bound(config: Config, key: Any, run: Any, *, way: Any) -> dict[str, Any]:
    loss = vae.OfBound(way, config.k)
    return vae.train(config, key, run, loss=loss, rows=no_rows)


def closed_form(says: str = "", **how: Any) -> Arm:
    return Arm(partial(gaussian.estimates, how=gaussian.Draws(**how)), says=says)


ARMS = {
    "gaussian-loo": closed_form("SUMO, leaving out each sample, K from j^-1.5"),
    "gaussian-gradient": Arm(gaussian.gradients, says="... its gradient in the model"),
    "gaussian-antithetic": closed_form("one antithetic level", kind="antithetic"),
    "gaussian-published": closed_form("as published", kind="paper", tail=sumo.PaperTail()),
    "gaussian-iwae": Arm(partial(gaussian.bound, k=4), says="IWAE of 4 samples"),
    "gaussian-costs": Arm(gaussian.costs, says="bias and spread against rows"),
    "gaussian-encoder": Arm(gaussian.encoder_training, says="an encoder trained on the variance"),
    "digits-sumo": Arm(train_sumo, vae.model, "a VAE trained on SUMO"),
    "digits-iwae": Arm(
        partial(train_bound, way=sumo.baselines.iwae), vae.model, "... on IWAE of as many rows"
    ),
    "digits-elbo": Arm(
        partial(train_bound, way=sumo.baselines.elbo), vae.model, "... on the ELBO, as many rows"
    ),
    "digits-jackknife": Arm(
        partial(train_bound, way=sumo.baselines.jackknife), vae.model, "... on JVI, as many rows"
    ),
    "funnel-sumo": Arm(funnel.train, funnel.model, "reverse KL to a funnel by SUMO"),
    "funnel-iwae": Arm(partial(funnel.train, bound=True), funnel.model, "... by IWAE"),
    "policy-sumo": Arm(partial(policy.train, way="sumo"), policy.latent, "a latent policy by SUMO"),
    "policy-iwae": Arm(partial(policy.train, way="iwae"), policy.latent, "... by IWAE"),
    "policy-independent": Arm(
        partial(policy.train, way="independent"), says="independent bits, exact log p"
    ),
    "policy-autoregressive": Arm(
        partial(policy.train, way="autoregressive"), says="linear autoregressive, exact log p"
    ),
}

SABOTAGES = {
    "multiplied": {
        "gaussian-loo": closed_form(tamper=gaussian.multiplied),
        "gaussian-gradient": Arm(
            partial(gaussian.gradients, how=gaussian.Draws(tamper=gaussian.multiplied))
        ),
        "gaussian-antithetic": closed_form(kind="antithetic", tamper=gaussian.multiplied),
    },
    "bucketed": {"gaussian-loo": closed_form(tamper=gaussian.bucketed)},
    "published": {"gaussian-loo": closed_form(kind="paper", tail=sumo.PaperTail())},
    "unaveraged": {"gaussian-loo": closed_form(kind="paper", tail=sumo.PowerTail())},
    "left-out": {"gaussian-published": closed_form()},
    "many-samples": {"gaussian-iwae": Arm(partial(gaussian.bound, k=64))},
    "encoder-still": {"gaussian-encoder": Arm(partial(gaussian.encoder_training, weight=0.0))},
    "by-elbo": {"digits-sumo": Arm(partial(train_bound, way=sumo.baselines.elbo), vae.model)},
    "padded": {
        "digits-sumo": Arm(
            partial(train_sumo, ladder=sumo.Ladder(16384, multiple=16384)), vae.model
        )
    },
    "funnel-bounded": {"funnel-sumo": Arm(partial(funnel.train, bound=True), funnel.model)},
    "policy-bounded": {"policy-sumo": Arm(partial(policy.train, way="iwae"), policy.latent)},
    "policy-blind": {"policy-sumo": Arm(partial(policy.train, way="independent"))},
}

SMALL = Config()
SMOKE = replace(
    SMALL, draws=4000, encoder_steps=4, steps=4, batch=20, every=2, tests=20, evaluate=20,
    validation=20, funnel_steps=4, funnel_tests=100, policy_steps=4, policy_tests=100,
)  # fmt: skip
MNIST = replace(
    SMALL, data="mnist", k=15, m=12, rate=1e-3, steps=3000, latent=50, width=200, depth=2,
    every=1000, validation=500, tests=1000, evaluate=1000, target=110.0,
)  # fmt: skip
PAPER = replace(
    MNIST, draws=4_000_000, steps=600_000, every=10_000, tests=10_000, evaluate=5000,
    funnel_steps=100_000, funnel_batch=32, funnel_rate=5e-5, funnel_width=128,
    policy_steps=100_000,
)  # fmt: skip

STUDY = Study(
    paper=_papers.SUMO,
    presets={
        "smoke": Preset("1 min, 2 cores", SMOKE, seeds=1),
        "small": Preset("3 min, 2 cores", SMALL, seeds=3),
        "mnist": Preset("45 min, 2 cores", MNIST, seeds=3),
        "paper": Preset("days, or hours on a GPU", PAPER, seeds=3),
    },
    arms=ARMS,
    claims=CLAIMS,
    sabotages=SABOTAGES,
    figures=figures.FIGURES,
    differences=DIFFERENCES,
)
