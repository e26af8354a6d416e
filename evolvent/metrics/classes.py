"""The class score: does a classifier know what each sample shows, and are they of many kinds?

    exp( E_x KL( p(y|x) ‖ p(y) ) )      from 1 (all alike, or all unclear) to the number of classes

as the mean over ten parts of the samples, p(y) being the part's own: it cannot exceed the samples in a part, and is low
where they are few. Over Inception's 1008 classes it is the published IS; over another classifier's it is comparable
under that one alone. It never sees the data: its floor, which is here what real images score, is where it should end
and not what it should exceed.

    Salimans et al., Improved techniques for training GANs, NeurIPS 2016.
"""

import torch

from evolvent.metrics.distances import Estimate
from evolvent.metrics.features import Features

NUM_PARTS = 10
LEAST_CLASSED = 2 * NUM_PARTS
"""Images that have a class score: two a part."""


def class_score(logits: Features) -> Estimate:
    """The mean over the parts and its standard error; papers print the spread, which is √10 of that.

    Raises ValueError for fewer than two rows a part and for a number that is not finite.
    """
    num = len(logits)
    if num < LEAST_CLASSED:
        raise ValueError(f"{num} images are too few for a class score: at least {LEAST_CLASSED} are needed")
    if not logits.isfinite().all():
        raise ValueError("a logit is not finite: it has no class. Look at the samples before their score")
    scores = torch.stack([_whole(part.log_softmax(1)) for part in deal(logits)])
    return Estimate(float(scores.mean()), float(scores.std()) / NUM_PARTS**0.5)


def deal(logits: Features) -> tuple[Features, ...]:
    """The rows in ten parts of equal size to one, at random, but by their content: their order does not matter."""
    # Along this direction no two different rows are likely to tie.
    direction = torch.randn(logits.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    order = (logits.double() @ direction.to(logits.device)).argsort()
    mixed = torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))
    return logits.double()[order[mixed.to(order.device)]].tensor_split(NUM_PARTS)


def _whole(log_p: Features) -> torch.Tensor:
    log_mean = log_p.logsumexp(0) - torch.tensor(len(log_p), dtype=torch.float64).log()
    return (log_p.exp() * (log_p - log_mean)).sum(1).mean().exp()
