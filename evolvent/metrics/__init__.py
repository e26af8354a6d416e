"""How good are the samples: scores, each with the floor that real data sets.

`judge_images`, `judge_texture` and `judge_points` give the scores of an experiment; the measures they are
made of stand in frechet, distances, fidelity, classes, memory and chains, the detectors in efflite0 and inception.
`auroc` judges an energy rather than samples.
"""

from evolvent.metrics.chains import (
    acceptance_rate,
    autocorrelation,
    autocorrelation_time,
    effective_sample_size,
)
from evolvent.metrics.classes import class_score
from evolvent.metrics.detection import auroc
from evolvent.metrics.distances import (
    Estimate,
    discrepancy,
    energy_distance,
    kernel_distance,
    mmd,
    response_distance,
    sliced_wasserstein,
    wasserstein,
)
from evolvent.metrics.efflite0 import EffLite0
from evolvent.metrics.features import extract, extract_pieces
from evolvent.metrics.frechet import Moments, frechet_distance
from evolvent.metrics.inception import Inception
from evolvent.metrics.lattice import plane_kl
from evolvent.metrics.memory import Memorisation, memorisation
from evolvent.metrics.scores import Score, judge_images, judge_points, judge_texture

__all__ = [
    "EffLite0",
    "Estimate",
    "Inception",
    "Memorisation",
    "Moments",
    "Score",
    "acceptance_rate",
    "auroc",
    "autocorrelation",
    "autocorrelation_time",
    "class_score",
    "discrepancy",
    "effective_sample_size",
    "energy_distance",
    "extract",
    "extract_pieces",
    "frechet_distance",
    "judge_images",
    "judge_points",
    "judge_texture",
    "kernel_distance",
    "memorisation",
    "mmd",
    "plane_kl",
    "response_distance",
    "sliced_wasserstein",
    "wasserstein",
]
