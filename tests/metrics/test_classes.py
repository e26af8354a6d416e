import numpy
import pytest
import torch
from scipy.stats import entropy

from evolvent.metrics import class_score
from evolvent.metrics.classes import deal


def logits(n, classes=5, *, scale=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)


def test_it_is_the_published_formula_over_each_of_ten_parts():
    rows = logits(97)
    parts = [part.softmax(1).numpy() for part in deal(rows)]
    scores = [numpy.exp(numpy.mean([entropy(p, part.mean(0)) for p in part])) for part in parts]
    value, error = class_score(rows)
    assert value == pytest.approx(numpy.mean(scores), rel=1e-9)
    assert error == pytest.approx(numpy.std(scores, ddof=1) / 10**0.5, rel=1e-9)


def test_the_parts_hold_every_row_once_and_are_dealt_anew():
    rows = logits(97)
    parts = deal(rows)
    assert sorted(map(len, parts)) == [9] * 3 + [10] * 7
    assert torch.equal(torch.cat(parts).sort(0).values, rows.sort(0).values)
    assert not torch.equal(torch.cat(parts), rows)


def test_one_part_repeated_is_the_formula():
    """All rows of a kind in equal share in every part, to what the deal spares: 5 kinds of 400 rows."""
    rows = logits(5).repeat(400, 1)
    p = rows[:5].softmax(1)
    exact = float(((p * (p / p.mean(0)).log()).sum(1)).mean().exp())
    value, error = class_score(rows)
    assert abs(value - exact) < 4 * error + 0.01


def test_sure_and_even_samples_score_the_number_of_classes_and_equal_ones_score_one():
    sure = 1000 * torch.eye(4, dtype=torch.float64).repeat(500, 1)
    assert class_score(sure).value == pytest.approx(4, rel=0.02)
    assert class_score(logits(1).expand(50, -1)) == (pytest.approx(1), pytest.approx(0, abs=1e-12))


def test_order_does_not_matter():
    rows = logits(97)
    assert class_score(rows.flip(0)) == pytest.approx(class_score(rows), rel=1e-9)


def test_bad_logits_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="19 images are too few for a class score: at least 20"):
        class_score(logits(19))
    with pytest.raises(ValueError, match="not finite"):
        class_score(logits(20).index_fill(0, torch.tensor([3]), torch.nan))
