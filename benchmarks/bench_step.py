"""Whole training steps on digits: time and memory of every learner, and two kept libraries' contrastive divergence.

    pip install -e '.[bench]' && python benchmarks/bench_step.py

A step is `Trainer.advance`: draw data, evolve, every backward, Adam, averaging. The peers' steps are persistent
contrastive divergence from a bank of the same size with the same score net, batch, K, step size, noise and fused Adam,
in their own classes; they average no weights. Memory is what the first two steps of
a process that runs nothing else hold at their peak, above what was held before them: optimiser and banks included.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from ebm.buffer import ReplayBuffer
from ebm.losses import ContrastiveDivergence
from ebm.samplers import LangevinDynamics as EbmkitLangevin
from machine import Memory, describe, header, median, ratio, row, take_turns
from peers import AsModel
from torch import nn
from torchebm.losses import PersistentContrastiveDivergence
from torchebm.samplers import LangevinDynamics as TorchebmLangevin

import evolvent as ev
from evolvent.nets.score import PlainScore, ResidualScore
from evolvent.recipes.digits import digits, digits_adversarial, digits_gcn, digits_wgcn

BATCH, K, STEP_SIZE, NOISE, SLOTS = 64, 10, 0.3, 0.003, 500
Net = Callable[[], nn.Module]


def ours(
    recipe: Callable[..., ev.Experiment], net: Net | None = None, share: float | None = None
) -> Callable:
    experiment = recipe()
    learner = experiment.learner
    if net is not None:
        learner.energy.net = net()
    if share is not None:
        learner.flow = replace(learner.flow, share=share)
    trainer = ev.Trainer(learner, experiment.data(), experiment.schedule)
    return trainer.advance


def ebmkit(net: Net) -> Callable:
    model = AsModel(ev.Energy(net(), ev.Uniform((1, 32, 32))))
    loss = ContrastiveDivergence(
        EbmkitLangevin(STEP_SIZE, K, noise_scale=NOISE), ReplayBuffer(SLOTS, (1, 32, 32), init_fn=torch.rand)
    )
    return _peer_step(model, lambda x: loss(model, x).loss)


def torchebm(net: Net) -> Callable:
    model = AsModel(ev.Energy(net(), ev.Uniform((1, 32, 32))))
    # Its noise is noise_scale · √(2 step_size).
    sampler = TorchebmLangevin(model, step_size=STEP_SIZE, noise_scale=NOISE / (2 * STEP_SIZE) ** 0.5)
    loss = PersistentContrastiveDivergence(
        model, sampler, k_steps=K, buffer_size=SLOTS, init_steps=0, energy_reg_weight=0.0
    )
    return _peer_step(model, lambda x: loss(x)[0])


def _peer_step(model: nn.Module, loss_at: Callable) -> Callable:
    data = digits_gcn().data()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.0, 0.95), fused=True)

    def step() -> None:
        loss = loss_at(data.draw(BATCH))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def residual() -> nn.Module:
    return ResidualScore(32, width=32)


def plain() -> nn.Module:
    return PlainScore(32)


CASES = {
    "GCN": lambda: ours(digits_gcn),
    "w-GCN": lambda: ours(digits_wgcn),
    "w-GCN, whole batch": lambda: ours(digits_wgcn, share=1.0),
    "GGCN (2 steps)": lambda: ours(digits),
    "amortised (no chain)": lambda: ours(digits_adversarial),
    "GCN, bfloat16": lambda: ours(partial(digits_gcn, precision="bfloat16")),
    "GGCN, bfloat16": lambda: ours(partial(digits, precision="bfloat16")),
    "ebmkit CD, persistent": lambda: ebmkit(plain),
    "TorchEBM CD, persistent": lambda: torchebm(plain),
    "GCN, residual score": lambda: ours(digits_gcn, residual),
    "w-GCN, residual score": lambda: ours(digits_wgcn, residual),
    "w-GCN, residual score, whole batch": lambda: ours(digits_wgcn, residual, 1.0),
    "ebmkit CD, residual score": lambda: ebmkit(residual),
    "TorchEBM CD, residual score": lambda: torchebm(residual),
}
BASES = {name: "GCN, residual score" if "residual" in name else "GCN" for name in CASES}


def peak_memory(name: str) -> float:
    """MiB of resident memory that two steps hold at their peak, above what the process held before them (Linux)."""
    torch.set_num_threads(1)
    step = CASES[name]()
    memory = Memory()
    step()
    step()
    return memory.peak()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(describe(), "\n")
    torch.manual_seed(0)
    times = take_turns({name: CASES[name]() for name in arguments.cases}, rounds=arguments.rounds)
    header("step, batch 64", "ms", "wall ms", "times GCN's cost", "peak memory, MiB")
    for name, each in times.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory = pool.apply(peak_memory, (name,))
        base = times.get(BASES[name])
        cost = f"{ratio(each, base):.2f}" if base else "-"
        row(name, f"{1e3 * median(each):.0f}", f"{1e3 * median(each, 1):.0f}", cost, f"{memory:.0f}")


if __name__ == "__main__":
    main()
