"""The paper's estimator in plain PyTorch, as one would write it; run by a Python that has torch.

A VAE 784-200-200-50 and a batch of 100, padded to the largest K of the batch. Reads the weights,
data, noise and K that JAX drew; checks the gradient; prints its seconds.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

torch.set_num_threads(1)


def loss(p, x, eps, k):
    hidden = torch.tanh(torch.tanh(x @ p["e0"]) @ p["e1"]) @ p["e2"]
    mean, log_scale = hidden.chunk(2, dim=1)
    z = mean[:, None] + log_scale.exp()[:, None] * eps
    logits = torch.tanh(torch.tanh(z @ p["d0"]) @ p["d1"]) @ p["d2"]
    log_p = (x[:, None] * logits - torch.nn.functional.softplus(logits)).sum(-1)
    logw = log_p - 0.5 * (z**2).sum(-1) + 0.5 * (eps**2).sum(-1) + log_scale.sum(-1)[:, None]
    n = torch.arange(1, logw.shape[1] + 1, dtype=logw.dtype)
    curve = torch.logcumsumexp(logw, dim=1) - n.log()
    j = n[:-1]
    weight = torch.where(j < 80, j, 80 * 0.9 ** -(j - 80).clamp(min=0))
    steps = (curve[:, 1:] - curve[:, :-1]) * weight * (j[None] <= k[:, None])
    return -(curve[:, 0] + steps.sum(1)).mean()


def main(file):
    arrays = {name: torch.from_numpy(value) for name, value in np.load(file).items()}
    p = {name: arrays[name].requires_grad_() for name in ("e0", "e1", "e2", "d0", "d1", "d2")}
    call = lambda: loss(p, arrays["x"], arrays["eps"], arrays["k"])  # noqa: E731
    found = torch.cat([g.ravel() for g in torch.autograd.grad(call(), list(p.values()))]).numpy()
    want = arrays["gradient"].numpy()
    off = np.linalg.norm(found - want) / np.linalg.norm(want)
    assert off < 1e-3, f"torch's gradient is off by {off:.1g}"
    taken = []
    for _ in range(7):
        began = time.process_time()
        torch.autograd.grad(call(), list(p.values()))
        taken.append(time.process_time() - began)
    print(json.dumps({"torch": torch.__version__, "seconds": median(taken[1:])}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
