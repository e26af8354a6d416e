"""w-GCN on a ring of eight Gaussians, in one file, with nothing but PyTorch.

    p(x) ∝ exp(f(x)) q(x) = exp(−U(x)),   U = Φ − log q,   Φ = −f,   q = N(0, 2² I)

A step of learning, from the top of `learn` to its end: particles leave the bank, evolve by Langevin dynamics under
the energy as it is, go back to their slots; then f takes one gradient step of the JKO flow,

    L(θ) = mean Φ(y) − mean Φ(x_t) + (τ/4) [mean ‖∇Φ(x_{t−1})‖² + mean ‖∇Φ(x_t)‖²],

y the data, x_{t−1} and x_t the particles before and after they evolved. With τ = 0 this is GCN. The loss was derived
for this project from the paper's idea (arXiv 1910.14216 v1); docs/paper.md says what is whose. The library does the
same by Energy, Persistent, Langevin, JKO and WGCN; tests/test_minimal.py holds its numbers against these.

    python examples/minimal.py
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

STEP_SIZE, NUM_MOVES = 0.005, 20  # of the chain; modes of deviation 0.1 allow no step above 2 · 0.1²
SAMPLING_MOVES = 1000
TAU = 0.005  # the JKO step
NUM_SLOTS, REBIRTH = 2048, 0.05  # of the bank
REFERENCE_STD = 2.0
BATCH_SIZE, NUM_STEPS, LR, BETAS = 256, 1000, 3e-3, (0.5, 0.95)


class Score(nn.Module):
    """f: [batch, 2] → [batch]. Fixed random waves, then two layers; without waves a small net blurs the modes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("waves", torch.randn(2, 64))
        self.layers = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1))

    def forward(self, x: Tensor) -> Tensor:
        phase = x @ self.waves
        return self.layers(torch.cat([phase.cos(), phase.sin()], dim=1)).squeeze(1)


def draw_data(num: int) -> Tensor:
    """Eight Gaussians of deviation 0.1, evenly on a circle of radius 2."""
    angle = 2 * math.pi * torch.randint(8, (num,)) / 8
    return 2 * torch.stack([angle.cos(), angle.sin()], dim=1) + 0.1 * torch.randn(num, 2)


def draw_reference(num: int) -> Tensor:
    return REFERENCE_STD * torch.randn(num, 2)


def gradient(function: Callable[[Tensor], Tensor], x: Tensor, *, create_graph: bool = False) -> Tensor:
    """∇_x of each point's own value."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x, create_graph=create_graph)[0]


def evolve(score: nn.Module, x: Tensor, num_moves: int) -> Tensor:
    """x ← x − h ∇U(x) + √(2h) ξ."""

    def energy(x: Tensor) -> Tensor:
        return -score(x) + (x / REFERENCE_STD).square().sum(1) / 2

    for _ in range(num_moves):
        x = x - STEP_SIZE * gradient(energy, x) + math.sqrt(2 * STEP_SIZE) * torch.randn_like(x)
    return x


def kinetic(score: nn.Module, x: Tensor) -> Tensor:
    """mean ‖∇Φ‖², differentiable in θ. (The square does not see the sign of Φ = −f.)"""
    return gradient(score, x, create_graph=True).square().sum(1).mean()


def learn(score: nn.Module, optimiser: torch.optim.Optimizer, bank: Tensor, tau: float) -> tuple[float, ...]:
    """One step: loss, energy gap mean Φ(x_t) − mean Φ(y), kinetic energy mean ‖∇Φ‖² over both ends."""
    data = draw_data(BATCH_SIZE)
    slots = torch.rand(NUM_SLOTS).topk(BATCH_SIZE).indices
    reborn = torch.rand(BATCH_SIZE, 1) < REBIRTH
    start = torch.where(reborn, draw_reference(BATCH_SIZE), bank[slots])
    end = evolve(score, start, NUM_MOVES)
    bank[slots] = end

    gap = score(data).mean() - score(end).mean()
    ends = (kinetic(score, start) + kinetic(score, end)) / 2
    loss = -gap + tau / 2 * ends
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item(), gap.item(), ends.item()


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖ over as many x as y, without bias: 0 for equal laws."""
    within = 1 - 1 / len(x)
    own = torch.cdist(x, x).mean() + torch.cdist(y, y).mean()
    return float(2 * torch.cdist(x, y).mean() - own / within)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    score = Score()
    bank = draw_reference(NUM_SLOTS)
    optimiser = torch.optim.Adam(score.parameters(), lr=LR, betas=BETAS)
    print("step      loss  energy gap  kinetic  particles to data (energy distance)")
    for step in range(1, NUM_STEPS + 1):
        optimiser.param_groups[0]["lr"] = LR * min(1, 2 - 2 * step / NUM_STEPS)  # falls over the second half
        loss, gap, ends = learn(score, optimiser, bank, TAU)
        if step == 1 or step % (NUM_STEPS // 8) == 0:
            distance = energy_distance(bank, draw_data(NUM_SLOTS))
            print(f"{step:4d}  {loss:8.4f}  {gap:10.4f}  {ends:7.2f}  {distance:8.4f}")
    reference, data = draw_reference(NUM_SLOTS), draw_data(NUM_SLOTS)
    chains = evolve(score, reference, SAMPLING_MOVES)
    centres = 2 * torch.view_as_real(torch.polar(torch.ones(8), torch.arange(8) * math.pi / 4))
    print("\npoints      to data  within 0.3 of a centre")
    for name, points in {"reference": reference, "bank": bank, "new chains": chains, "data": data}.items():
        share = (torch.cdist(points, centres).min(1).values < 0.3).float().mean()
        print(f"{name:10s}  {energy_distance(points, draw_data(NUM_SLOTS)):7.4f}  {share:.0%}")


if __name__ == "__main__":
    main()
