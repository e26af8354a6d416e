"""The class score: does a classifier know what each sample shows, and are they of many kinds?

    exp( E_x KL( p(y|x) ‖ p(y) ) )      from 1 (all alike, or all unclear) to the number of classes

as the mean over ten parts of the samples, p(y) being the part's own. Over Inception's 1008 classes it is the
published IS; over another classifier's it is comparable under that one alone. It never sees the data: its
floor, which is here what real images score, is where it should end and not what it should exceed.

    Salimans et al., Improved techniques for training GANs, NeurIPS 2016.
"""

import torch

from evolvent.metrics.distances import Estimate
from evolvent.metrics.features import Features

NUM_PARTS = 10


def class_score(logits: Features) -> Estimate:
    """The mean over the parts and its standard error; papers print the spread, which is √10 of that.

    Rows are dealt to the parts by their content, so that their order does not matter.
    Raises ValueError for fewer than two rows a part and for a number that is not finite.
    """
    num = len(logits)
    if num < 2 * NUM_PARTS:
        raise ValueError(f"{num} images are too few for a class score: at least {2 * NUM_PARTS} are needed")
    if not logits.isfinite().all():
        raise ValueError("a logit is not finite: it has no class. Look at the samples before their score")
    dealt = torch.randperm(num, generator=torch.Generator().manual_seed(0))
    log_p = logits.double()[_order(logits)][dealt.to(logits.device)].log_softmax(1)
    scores = torch.stack([_whole(part) for part in log_p.tensor_split(NUM_PARTS)])
    return Estimate(float(scores.mean()), float(scores.std()) / NUM_PARTS**0.5)


def _order(rows: Features) -> torch.Tensor:
    """Sorted by their sum along a fixed direction, in which no two different rows are likely to tie."""
    direction = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (rows.double() @ direction.to(rows.device)).argsort()


def _whole(log_p: Features) -> torch.Tensor:
    log_mean = log_p.logsumexp(0) - torch.tensor(len(log_p), dtype=torch.float64).log()
    return (log_p.exp() * (log_p - log_mean)).sum(1).mean().exp()
