"""GRAN's sampler in plain PyTorch, as one would write it; run by a Python that has torch.

Each step builds the graph so far with the block's new nodes and runs all rounds on all of it, each
edge's first layer on [h_s - h_r, one-hot places], those 64 wide as in the authors' code. Reads
weights and a graph; checks conditionals of some windows; prints seconds of a sampling whose rows,
once drawn, are replaced by those of the graph, so that both sides work on the same edges.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn.functional import linear, logsigmoid, one_hot, relu

torch.set_num_threads(1)
PLACES = 64
torch.set_grad_enabled(False)


class Sampler:
    def __init__(self, p):
        self.p, self.block, self.n = p, int(p["block"]), int(p["n"])
        self.hidden = p["offset"].shape[0]
        # [h_s - h_r, place of s, place of r] -> the first layers of message and gate.
        unused = torch.zeros(len(p["sent"]), PLACES - p["sent"].shape[1], p["sent"].shape[2])
        first = torch.cat([p["first"], p["sent"], unused, p["received"], unused], dim=1)
        self.first = [w.T.contiguous() for w in first]
        self.dense = {
            name: [(w.T.contiguous(), b) for w, b in zip(p[f"r_{name}_w"], p[f"r_{name}_b"])]
            for name in ("message", "gate", "inner", "state")
        }
        self.cells = []
        for (wi, bi), (wh, bh) in zip(self.dense["inner"], self.dense["state"]):
            cell = torch.nn.GRUCell(self.hidden, self.hidden)
            cell.weight_ih.copy_(wi)
            cell.weight_hh.copy_(wh)
            cell.bias_ih.copy_(bi)
            cell.bias_hh.copy_(bh)
            self.cells.append(cell)

    def states(self, h, edges, t, count):
        new = torch.arange(t, t + count)
        every = torch.arange(t + count)
        s, r = (x.ravel() for x in torch.meshgrid(new, every, indexing="ij"))
        extra = torch.stack([s, r])[:, s != r]
        back = extra[:, extra[1] < t].flip(0)  # pairs of new nodes come both ways already
        sender, receiver = torch.cat([edges, edges.flip(0), extra, back], dim=1)
        place = torch.clamp(every - t + 1, min=0)
        x = one_hot(place, PLACES).to(h.dtype)
        h = torch.cat([h, torch.zeros(count, self.hidden)])
        ends = torch.cat([x[sender], x[receiver]], dim=1)
        for i, cell in enumerate(self.cells):
            both = relu(linear(torch.cat([h[sender] - h[receiver], ends], dim=1), self.first[i]))
            message = linear(both[:, : self.hidden], *self.dense["message"][i])
            gate = torch.sigmoid(linear(both[:, self.hidden :], *self.dense["gate"][i]))
            total = torch.zeros_like(h).index_add_(0, receiver, message * gate)
            h = cell(total, h)
            if i + 1 < len(self.cells):
                h = relu(h)
        return h

    def heads(self, h, t, count):
        p, half = self.p, self.hidden
        i, j = (x.ravel() for x in torch.meshgrid(
            torch.arange(t, t + count), torch.arange(t + count), indexing="ij"))  # fmt: skip
        i, j = i[j < i], j[j < i]
        first = linear(h[i] - h[j], p["head_first"].T, p["head_bias"])
        edge = relu(linear(relu(first[:, :half]), p["h_second_w"].T, p["h_second_b"]))
        mix = relu(linear(relu(first[:, half:]), p["h_mix_second_w"].T, p["h_mix_second_b"]))
        theta = linear(edge, p["h_logits_w"].T, p["h_logits_b"])
        share = linear(mix, p["h_mix_w"].T, p["h_mix_b"])
        # The first row has no pair at all.
        alpha = share.mean(0) if len(share) else torch.zeros(share.shape[1])
        return i, j, theta, torch.log_softmax(alpha, 0)

    def inputs(self, edges, low, high):
        """W L_i + c of rows low to high - 1."""
        own = edges[:, (edges[0] >= low) & (edges[0] < high)]
        rows = torch.zeros(high - low, self.p["column"].shape[0])
        rows[own[0] - low, own[1]] = 1
        return rows @ self.p["column"] + self.p["offset"]

    def log_prob(self, edges, t):
        count = min(self.block, self.n - t)
        known = edges[:, edges[0] < t]
        h = self.states(self.inputs(known, 0, t), known, t, count)
        i, j, theta, alpha = self.heads(h, t, count)
        names = set(map(tuple, edges.T.tolist()))
        y = torch.tensor([(a, b) in names for a, b in zip(i.tolist(), j.tolist())]).float()[:, None]
        terms = y * logsigmoid(theta) + (1 - y) * logsigmoid(-theta)
        return torch.logsumexp(alpha + terms.sum(0), 0)

    def sample(self, edges):
        h, drawn = torch.zeros(0, self.hidden), 0
        for t in range(0, self.n, self.block):
            count = min(self.block, self.n - t)
            known = edges[:, edges[0] < t]
            _, _, theta, alpha = self.heads(self.states(h, known, t, count), t, count)
            part = torch.multinomial(alpha.exp(), 1)
            drawn += int(torch.bernoulli(torch.sigmoid(theta[:, part])).sum())
            h = torch.cat([h, self.inputs(edges, t, t + count)])
        return drawn


def main(file):
    p = {name: torch.from_numpy(value) for name, value in np.load(file).items()}
    sampler, edges = Sampler(p), p["edges"].T.contiguous()
    found = np.array([float(sampler.log_prob(edges, t)) for t in p["steps"].tolist()])
    off = np.abs(found - p["log_probs"].numpy()).max()
    assert off < 1e-3 * max(1.0, np.abs(found).max()), f"torch's conditionals are off by {off:.1g}"
    taken = []
    for _ in range(5):
        began = time.process_time()
        sampler.sample(edges)
        taken.append(time.process_time() - began)
    print(json.dumps({"torch": torch.__version__, "seconds": median(taken)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
