"""Energy-based generative ConvNets: particles that evolve under a learned energy.

A score f, learned bottom-up, tilts a reference q into the model

    p(x) ∝ exp(f(x)) q(x) = exp(−U(x)),    U = Φ − log q,  Φ = −f                  energy, reference

whose samples are particles that follow Langevin dynamics                          dynamics, particles

    x ← x − h ∇U(x) + √(2hT) ξ.

One update of the energy is one step of a flow of densities: KL (FRAME, GCN) or JKO (w-GCN)          flows
GGCN makes the reference learnable, q = g # N(0, I), and the mapping g learns from the same particles  learners

Source of the method: Wu et al., arXiv 1910.14216 v1. What is the paper's and what is derived: docs/paper.md.
"""

import evolvent.processes.early  # noqa: F401 - before what takes seconds to import

# isort: split
from evolvent.conditional import Conditional
from evolvent.data.images import Images
from evolvent.dynamics import MALA, Independent, Langevin, Preconditioned, Underdamped
from evolvent.energy import Energy
from evolvent.flows import JKO, KL, Annealed, linear, logistic
from evolvent.interpolation import interpolate
from evolvent.learners.amortized import Adversarial, Cooperative
from evolvent.learners.conditional import ConditionalGCN, ConditionalGGCN
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.multigrid import MultiGrid
from evolvent.learners.wgcn import WGCN
from evolvent.likelihood import energies
from evolvent.noise import ImageNoise, Noise
from evolvent.observed import complete
from evolvent.particles import Fresh, Persistent, PersistentByClass
from evolvent.pretrained import Saved, from_pretrained
from evolvent.reference import Gaussian, Uniform
from evolvent.sampling import draw
from evolvent.spectral import Spectral
from evolvent.training.guard import Guard
from evolvent.training.schedule import Adam, Experiment, Schedule
from evolvent.training.trainer import Trainer
from evolvent.views import Coarse, Grey, Masked

__version__ = "0.1.0"

__all__ = [
    "GCN", "GGCN", "JKO", "KL", "MALA", "WGCN", "Adam", "Adversarial", "Annealed", "Coarse", "Conditional",
    "ConditionalGCN", "ConditionalGGCN", "Cooperative", "Energy", "Experiment", "Fresh", "Gaussian", "Grey",
    "Guard", "ImageNoise", "Images", "Independent", "Langevin", "Masked", "MultiGrid", "Noise", "Persistent",
    "PersistentByClass", "Preconditioned", "Saved", "Schedule", "Spectral", "Trainer",
    "Underdamped", "Uniform", "complete", "draw", "energies", "from_pretrained", "interpolate", "linear", "logistic",
]  # fmt: skip
