"""What arXiv 1912.03579 claims, and what would make each claim fail."""

from functools import partial

from tenfold.lab.claim import Claim

SCALE = "smaller data, nets and fewer steps than the paper's; its own numbers were not checked here"
cheap, flow = "section 2", "section 4"
exact = partial(
    Claim, where=cheap, arm="exact", against=0.0, direction="near", tolerance=1e-10, sabotage="leak"
)
digits = partial(
    Claim, where=flow, metric="test_nll", arm="hollow", direction="lower", tolerance=0.0,
    sabotage="idle", scale=SCALE,
)  # fmt: skip
stiff = partial(Claim, where="section 3", direction="lower", compare="ratio", scale=SCALE)
fitted = partial(
    Claim, where="section 5", metric="distance_over_error", against=1.0, direction="lower",
    tolerance=0.0, sabotage="untrained", scale=SCALE,
)  # fmt: skip
bound = partial(
    Claim, where=flow, metric="test_elbo", arm="vae-hollow", direction="higher", tolerance=0.0,
    sabotage="leak", scale=SCALE,
)  # fmt: skip

CLAIMS = (
    # C1: exact, at the cost of a pass
    exact("hollow/hollow", "no h_i depends on x_i, for five kinds of conditioner", metric="leak"),
    exact("hollow/divergence", "the divergence is the dense trace", metric="divergence"),
    exact("hollow/orders", "D_2 and D_3 are the dense derivatives", metric="orders"),
    exact("hollow/gradient", "gradients of a divergence are the dense ones", metric="gradient"),
    Claim(
        "hollow/operations",
        "f with its divergence takes at most 1.4 times the operations of f, at every d",
        cheap,
        "exact_over_f",
        "costs",
        1.4,
        "lower",
        0.0,
        "silent",
    ),
    Claim(
        "hollow/growth",
        "... and that ratio does not grow from the least d to the greatest",
        cheap,
        "growth",
        "costs",
        1.0,
        "lower",
        -0.05,
        "silent",
    ),
    Claim(
        "hollow/time",
        "... and at most 1.6 times its time",
        cheap,
        "exact_over_f_time_ratio",
        "costs",
        1.6,
        "lower",
        0.0,
        "silent",
    ),
    Claim(
        "hollow/hutchinson-time",
        "... and one probe of Hutchinson's through the same net takes longer than it, at every d",
        cheap,
        "hutchinson_over_exact_time_ratio",
        "costs",
        1.0,
        "higher",
        0.0,
        "silent",
    ),
    # C2: no noise, and what that is worth
    Claim(
        "hollow/no-noise",
        "log p of a digit has no noise (standard deviation over repeats, nats)",
        flow,
        "log_p_std",
        "hollow",
        0.0,
        "near",
        1e-3,
        "noisy",
    ),
    Claim(
        "hollow/noise",
        "... with Hutchinson's trace it has half a nat more, at least",
        flow,
        "log_p_std",
        "hollow",
        "hutchinson",
        "lower",
        0.5,
        "noisy",
    ),
    Claim(
        "hollow/evaluations",
        "the exact log p takes no more evaluations than the noisy one, within 5 %",
        flow,
        "own_nfe",
        "hollow",
        "hutchinson",
        "lower",
        -0.05,
        "unsteady",
        compare="ratio",
    ),
    digits(
        "hollow/same-net",
        "in equal time the exact trace trains the same net to a better test log-likelihood",
        against="hutchinson",
    ),
    digits(
        "hollow/equal-time",
        "in equal time a hollow net beats an unrestricted one of as many parameters with "
        "Hutchinson's trace",
        against="plain",
    ),
    digits("hollow/equal-steps", "... and in equal steps", against="plain-steps"),
    Claim(
        "hollow/table",
        "of a table's columns, in equal steps, a hollow net beats an unrestricted one with "
        "Hutchinson's trace",
        flow,
        "test_nll",
        "table",
        "table-plain",
        "lower",
        0.0,
        "leak",
        scale=SCALE,
    ),
    # C3: the price of the restriction
    Claim(
        "hollow/plane",
        "in the plane a hollow net loses at most 0.05 nats to an unrestricted one, exact traces",
        flow,
        "nll",
        "toys",
        "toys-plain",
        "lower",
        -0.05,
        "leak",
        scale=SCALE,
    ),
    Claim(
        "hollow/mass",
        "... and its density m sums to 1 on all four: |m - 1| / (m + 1) is below 0.01",
        flow,
        "mass_error",
        "toys",
        0.0,
        "near",
        0.01,
        "leak",
    ),
    Claim(
        "hollow/price",
        "in 16 dimensions it loses at most 0.2 nats, with h_i of length 16",
        flow,
        "test_nll",
        "d_h-16",
        "d_h-all",
        "lower",
        -0.2,
        "leak",
        scale=SCALE,
    ),
    # C4: implicit solvers
    stiff(
        "hollow/adams",
        "Adams of order 4 at rate 100: Jacobi-Newton needs half the evaluations of functional "
        "iteration",
        metric="evaluations_100",
        arm="abm-jacobi",
        against="abm-functional",
        tolerance=0.5,
        sabotage="functional",
    ),
    stiff(
        "hollow/stiff-all",
        "BDF with Jacobi-Newton solves every rate from 1 to 1e4",
        metric="rate_failures",
        arm="bdf-jacobi",
        against=0.0,
        direction="near",
        tolerance=0.5,
        compare="difference",
        sabotage="functional",
    ),
    stiff(
        "hollow/coupled-all",
        "... and every coupling to 3, where the diagonal no longer dominates",
        metric="coupling_failures",
        arm="bdf-jacobi",
        against=0.0,
        direction="near",
        tolerance=0.5,
        compare="difference",
        sabotage="functional",
    ),
    stiff(
        "hollow/explicit",
        "at rate 1,000 it needs a fifth of Dopri5's evaluations, at most",
        metric="evaluations_1000",
        arm="bdf-jacobi",
        against="dopri5",
        tolerance=0.8,
        sabotage="functional",
    ),
    stiff(
        "hollow/newton",
        "... a fifth of those of Newton's method with a dense Jacobian",
        metric="evaluations_1000",
        arm="bdf-jacobi",
        against="bdf-newton",
        tolerance=0.8,
        sabotage="functional",
    ),
    stiff(
        "hollow/kvaerno",
        "... and half of Kvaerno5's, its Jacobians counted",
        metric="evaluations_1000",
        arm="bdf-jacobi",
        against="kvaerno5",
        tolerance=0.5,
        sabotage="functional",
    ),
    # C5: a VAE
    bound("hollow/vae-none", "a hollow flow raises the ELBO of a VAE", against="vae-none"),
    bound("hollow/vae-planar", "... above planar flows", against="vae-planar"),
    bound("hollow/vae-iaf", "... above inverse autoregressive flows", against="vae-iaf"),
    bound("hollow/vae-sylvester", "... above Sylvester flows", against="vae-sylvester"),
    bound("hollow/vae-ffjord", "... and above FFJORD, in equal steps", against="vae-ffjord"),
    # C6: SDEs
    Claim(
        "hollow/fokker-planck",
        "the Fokker-Planck residual of geometric Brownian motion is 0",
        "section 5",
        "residual",
        "exact",
        0.0,
        "near",
        1e-10,
        "g-squared",
    ),
    fitted(
        "hollow/ou",
        "simulated marginals of a fitted Ornstein-Uhlenbeck process lie within the sampling error "
        "of 400 points",
        arm="ou",
    ),
    fitted("hollow/well", "... and those of a double well", arm="well"),
)

DIFFERENCES = (
    "Digits of 8 x 8 pixels, binary for the VAE, and 30 measures of cell nuclei, where the paper "
    "has MNIST, Omniglot and MINIBOONE. MNIST and MINIBOONE are the preset `paper`'s; Omniglot has "
    "no loader here.",
    "Flows train on a few equal Bosh3 steps; the paper's solver is adaptive. All are tested by "
    "Dopri5 at 1e-5 with the exact trace, on the model of least validation loss.",
    "Equal time: the numbers of steps are those that took equal time on our machine, where only "
    "the steps were timed. The arm `step-times` measures it again on yours.",
    "The stiff family is ours, with BDF beside the paper's Adams methods: those of orders 3 and 4 "
    "are not stable on stiff problems, however their equation is solved.",
    "Evaluations of Newton's method and of Kvaerno5 include d products for each dense Jacobian.",
    "The SDEs' diffusion is given: marginals do not determine both coefficients.",
    "No hyperparameters of the paper are public; ours were chosen on validation data.",
)
