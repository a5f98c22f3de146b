"""torchsde's side of `benchmarks/sde.py`; run by a Python that has torch and torchsde.

Reads the nets, the start and the Brownian increments that JAX drew; checks that reversible Heun
gives JAX's gradient along them; then times the gradient on torchsde's own `BrownianInterval`.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torchsde

torch.set_num_threads(1)
ROUTES = {
    "torchsde, reversible Heun, its exact adjoint": (
        torchsde.sdeint_adjoint,
        {"method": "reversible_heun", "adjoint_method": "adjoint_reversible_heun"},
    ),
    "torchsde, reversible Heun, backpropagation": (torchsde.sdeint, {"method": "reversible_heun"}),
    "torchsde, midpoint, the paper's adjoint": (
        torchsde.sdeint_adjoint,
        {"method": "midpoint", "adjoint_method": "midpoint"},
    ),
}


class Posterior(torch.nn.Module):
    """The fields of `benchmarks/sde.py`."""

    noise_type, sde_type = "diagonal", "stratonovich"

    def __init__(self, arrays):
        super().__init__()
        for net in ("f", "h", "g"):
            for name in ("w1", "b1", "w2", "b2"):
                value = torch.nn.Parameter(torch.from_numpy(arrays[f"{net}_{name}"]))
                self.register_parameter(f"{net}_{name}", value)

    def net(self, name, z):
        w1, b1, w2, b2 = (getattr(self, f"{name}_{part}") for part in ("w1", "b1", "w2", "b2"))
        return torch.addmm(b2, torch.tanh(torch.addmm(b1, z, w1)), w2)

    def f(self, t, z):
        return self.net("f", z)

    def h(self, t, z):
        return self.net("h", z)

    def g(self, t, z):
        return 0.1 + torch.sigmoid(self.net("g", z))


class Recorded(torchsde.BaseBrownian):
    """The increments that JAX drew; the last column belongs to the divergence, whose diffusion
    is 0."""

    def __init__(self, dw):
        self.dw = torch.nn.functional.pad(torch.from_numpy(dw), (0, 1))

    def __call__(self, ta, tb=None, return_U=False, return_A=False):
        n = len(self.dw)
        first, last = round(float(ta) * n), round(float(tb) * n)
        return self.dw[first:last].sum(0)

    def __repr__(self):
        return "Recorded"

    dtype = property(lambda self: self.dw.dtype)
    device = property(lambda self: self.dw.device)
    shape = property(lambda self: self.dw.shape[1:])
    levy_area_approximation = property(lambda self: "none")


def gradient(sde, start, solve, options, bm):
    z0 = start.clone().requires_grad_()
    n = options["n"]
    options = {k: v for k, v in options.items() if k != "n"}
    ts = torch.tensor([0.0, 1.0])
    zs, cost = solve(sde, z0, ts, bm=bm, dt=1 / n, logqp=True, **options)
    loss = (zs[-1] ** 2).sum(-1).mean() + cost.sum(0).mean()
    return torch.autograd.grad(loss, [*sde.parameters(), z0])


def interval(shape, n):
    size = (shape[0], shape[1] + 1)
    return torchsde.BrownianInterval(0.0, 1.0, size=size, dt=1 / n)


def main(file):
    arrays = dict(np.load(file))
    n, start = int(arrays["n"]), torch.from_numpy(arrays["z0"])
    sde = Posterior(arrays)
    for solve, options in list(ROUTES.values())[:2]:
        found = gradient(sde, start, solve, {**options, "n": n}, Recorded(arrays["dw"]))
        found = np.concatenate([part.detach().numpy().ravel() for part in found])
        off = np.linalg.norm(found - arrays["gradient"]) / np.linalg.norm(arrays["gradient"])
        assert off < 1e-3, f"torchsde's gradient is off by {off:.1g}"
    seconds = {}
    for name, (solve, options) in ROUTES.items():
        taken = []
        for _ in range(2 + int(arrays["rounds"])):
            began = time.process_time()
            gradient(sde, start, solve, {**options, "n": n}, interval(start.shape, n))
            taken.append(time.process_time() - began)
        seconds[name] = median(taken[2:])
    print(json.dumps({"versions": [torch.__version__, torchsde.__version__], "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
