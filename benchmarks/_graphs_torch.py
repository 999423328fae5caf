"""GRAN in PyTorch, step by step as its authors' code takes them: an edge list, dense rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from _graphs_bare import layers_of

# Of the one-hot codes that tell new nodes apart, at each end of an edge.
MARKS = 64


class Prefixes(NamedTuple):
    """Graphs so far with a block of new nodes each, as one graph, and the pairs asked about."""

    rows: torch.Tensor
    edges: torch.Tensor
    marks: torch.Tensor
    features: torch.Tensor
    pairs: torch.Tensor
    labels: torch.Tensor
    which: torch.Tensor


class Twin(nn.Module):
    """The same network of the same arrays: `network` is that of a `GRAN`."""

    def __init__(self, network: Any):
        super().__init__()
        self.block, self.width = network.block, network.rows.shape[1]
        self.embed = _linear(network.rows.T, network.bias)
        self.messages, self.gates, self.grus = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for layer in layers_of(network):
            weight, bias = (
                _wide(np.asarray(layer.first.weight), self.width, self.block),
                layer.first,
            )
            first = np.asarray(bias.bias)
            for into, half, last in (
                (self.messages, slice(0, self.width), layer.message),
                (self.gates, slice(self.width, None), layer.gate),
            ):
                head = _linear(weight[half], first[half])
                into.append(nn.Sequential(head, nn.ReLU(), _linear(last.weight, last.bias)))
            self.grus.append(_gru(layer.gru, self.width))
        self.theta, self.alpha = map(_head, (network.theta, network.alpha))

    def states(
        self, features: torch.Tensor, edges: torch.Tensor, marks: torch.Tensor
    ) -> torch.Tensor:
        codes = torch.zeros(len(edges), 2 * MARKS)
        codes = codes.scatter(1, marks[edges[:, 0]], 1)
        codes = codes.scatter(1, marks[edges[:, 1]] + MARKS, 1)
        state = features
        into = edges[:, 1:].expand(-1, self.width)
        for number, (message, gate, gru) in enumerate(
            zip(self.messages, self.gates, self.grus, strict=True)
        ):
            if number:
                state = torch.relu(state)
            ends = torch.cat([state[edges[:, 0]] - state[edges[:, 1]], codes], dim=1)
            told = message(ends) * torch.sigmoid(gate(ends))
            state = gru(torch.zeros(len(state), self.width).scatter_add(0, into, told), state)
        return state

    @torch.no_grad()
    def law(self, matrix: torch.Tensor, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the block's rectangle, [block, start + block, mixtures], and the weights."""
        end = start + self.block
        matrix[start:] = 0
        lower = torch.tril(matrix, diagonal=-1)
        rows = self.embed(lower[:start])
        features = nn.functional.pad(rows, (0, 0, 0, self.block))
        joined = nn.functional.pad(lower[:start, :start], (0, self.block, 0, self.block), value=1.0)
        joined = torch.tril(joined, diagonal=-1)
        edges = (joined + joined.T).to_sparse().coalesce().indices().T
        marks = torch.cat([torch.zeros(start).long(), torch.arange(1, self.block + 1)])[:, None]
        state = self.states(features, edges, marks)
        row, column = torch.meshgrid(torch.arange(start, end), torch.arange(end), indexing="ij")
        ends = state[row.reshape(-1)] - state[column.reshape(-1)]
        theta = self.theta(ends).view(self.block, end, -1)
        return theta, torch.softmax(self.alpha(ends).mean(dim=0), dim=0)

    @torch.no_grad()
    def step(self, matrix: torch.Tensor, start: int) -> None:
        """Draw the rows of a block into the matrix."""
        theta, weights = self.law(matrix, start)
        chosen = int(torch.multinomial(weights, 1))
        end = start + self.block
        matrix[start:end, :end] = torch.bernoulli(torch.sigmoid(theta[:, :, chosen]))

    def sample(self, nodes: int) -> torch.Tensor:
        """A whole graph; `nodes` is a multiple of the block."""
        matrix = torch.zeros(nodes, nodes)
        for start in range(0, nodes, self.block):
            self.step(matrix, start)
        matrix = torch.tril(matrix, diagonal=-1)
        return matrix + matrix.T

    def objective(self, batch: Prefixes) -> torch.Tensor:
        """Minus the sum of the log-probabilities of the blocks' rectangles."""
        rows = nn.functional.pad(self.embed(batch.rows), (0, 0, 1, 0))
        state = self.states(rows[batch.features], batch.edges, batch.marks)
        ends = state[batch.pairs[:, 0]] - state[batch.pairs[:, 1]]
        theta, alpha = self.theta(ends), self.alpha(ends)
        labels = batch.labels[:, None].expand(-1, theta.shape[1])
        each = nn.functional.binary_cross_entropy_with_logits(theta, labels, reduction="none")
        into, count = batch.which[:, None].expand(-1, theta.shape[1]), int(batch.which[-1]) + 1
        nothing = torch.zeros(count, theta.shape[1])
        pairs = nothing.scatter_add(0, into, torch.ones_like(theta))
        weights = torch.log_softmax(nothing.scatter_add(0, into, alpha) / pairs, dim=1)
        return -torch.logsumexp(weights - nothing.scatter_add(0, into, each), dim=1).sum()


def prefixes(matrix: np.ndarray, starts: Sequence[int], block: int) -> Prefixes:
    """What a step of training reads, made before: the graph before each start, and its block."""
    edges, marks, features, pairs, labels, which = [], [], [], [], [], []
    base = 0
    for number, start in enumerate(starts):
        end = start + block
        joined = np.pad(matrix[:start, :start], ((0, block), (0, block)), constant_values=1)
        joined = np.tril(joined, -1)
        edges.append(np.argwhere(joined + joined.T) + base)
        marks.append(np.concatenate([np.zeros(start), np.arange(1, block + 1)]))
        features.append(np.concatenate([np.arange(1, start + 1), np.zeros(block)]))
        row, column = np.meshgrid(np.arange(start, end), np.arange(end), indexing="ij")
        pairs.append(np.stack([row.ravel(), column.ravel()], axis=1) + base)
        labels.append(matrix[row.ravel(), column.ravel()])
        which.append(np.full(row.size, number))
        base += end
    whole = lambda parts: torch.tensor(np.concatenate(parts).astype(np.int64))
    rows = torch.tensor(np.tril(matrix, -1).astype(np.float32))
    told = torch.tensor(np.concatenate(labels).astype(np.float32))
    return Prefixes(
        rows, whole(edges), whole(marks)[:, None], whole(features), whole(pairs), told, whole(which)
    )


def _wide(weight: np.ndarray, width: int, block: int) -> np.ndarray:
    """Columns for codes that are longer than needed."""
    state, sender, receiver = np.split(weight, [width, width + block + 1], axis=1)
    pad = lambda part: np.pad(part, ((0, 0), (0, MARKS - block - 1)))
    return np.concatenate([state, pad(sender), pad(receiver)], axis=1)


def _linear(weight: Any, bias: Any) -> nn.Linear:
    weight = np.array(weight, np.float32)
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight.data, made.bias.data = torch.tensor(weight), torch.tensor(np.array(bias))
    return made


def _head(head: Any) -> nn.Sequential:
    first, second, last = (_linear(p.weight, p.bias) for p in (head.first, head.second, head.last))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)


def _gru(gru: Any, width: int) -> nn.GRUCell:
    made = nn.GRUCell(width, width)
    made.weight_ih.data = torch.tensor(np.array(gru.weight_ih))
    made.weight_hh.data = torch.tensor(np.array(gru.weight_hh))
    made.bias_ih.data = torch.tensor(np.array(gru.bias))
    made.bias_hh.data = torch.cat([torch.zeros(2 * width), torch.tensor(np.array(gru.bias_n))])
    return made
