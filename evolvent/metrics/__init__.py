"""How good are the samples: scores, each with the floor that real data sets.

`judge_images`, `judge_texture` and `judge_points` give the scores of an experiment; the measures they are
made of stand in features, frechet, distances, fidelity and chains.
"""

from evolvent.metrics.chains import (
    acceptance_rate,
    autocorrelation,
    autocorrelation_time,
    effective_sample_size,
)
from evolvent.metrics.distances import (
    Estimate,
    discrepancy,
    energy_distance,
    kernel_distance,
    mmd,
    response_distance,
    sliced_wasserstein,
)
from evolvent.metrics.features import EffLite0, extract
from evolvent.metrics.fidelity import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
from evolvent.metrics.frechet import Moments, frechet_distance
from evolvent.metrics.scores import Score, judge_images, judge_points, judge_texture

__all__ = [
    "DensityCoverage",
    "EffLite0",
    "Estimate",
    "Moments",
    "PrecisionRecall",
    "Score",
    "acceptance_rate",
    "autocorrelation",
    "autocorrelation_time",
    "density_coverage",
    "discrepancy",
    "effective_sample_size",
    "energy_distance",
    "extract",
    "frechet_distance",
    "judge_images",
    "judge_points",
    "judge_texture",
    "kernel_distance",
    "mmd",
    "precision_recall",
    "response_distance",
    "sliced_wasserstein",
]
