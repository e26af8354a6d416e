import json
import math

import pytest
import torch
from torch import nn

from evolvent.metrics import (
    EffLite0,
    Moments,
    Score,
    extract,
    frechet_distance,
    gauges,
    judge_images,
    judge_points,
    judge_texture,
)


class Corners(nn.Module):
    """A detector of 4 features: the pixels of a corner."""

    name = "corners"

    def forward(self, pixels_uint8):
        return pixels_uint8[:, 0, :2, :2].flatten(1).float()


class KnowingCorners(Corners):
    def logits(self, features):
        return features / 100


class Square:
    """Uniform on the unit square: density 1, log density 0 inside and −∞ outside."""

    def draw(self, n):
        return torch.rand(n, 2)

    def log_density(self, x):
        return torch.where(((x >= 0) & (x <= 1)).all(1), 0.0, -torch.inf)


class Normal:
    def draw(self, n):
        return torch.randn(n, 2)

    def log_density(self, x):
        return -x.square().sum(1) / 2 - math.log(2 * math.pi)


def pictures(n, *, seed=0, channels=1, low=0):
    return torch.randint(low, 256, (n, channels, 8, 8), generator=torch.Generator().manual_seed(seed)).byte()


def by_name(scores):
    return {score.measure: score for score in scores}


def test_images_are_judged_on_features_and_pixels_with_counts_and_floor():
    scores = judge_images(pictures(20), pictures(30, seed=1), pictures(50, seed=2), detector=Corners())
    assert [(score.measure, score.protocol, score.lower_is_better) for score in scores] == [
        ("frechet", "corners", True),
        ("kernel", "corners, all pairs", True),
        ("precision", "corners, k=3", False),
        ("recall", "corners, k=3", False),
        ("density", "corners, k=5", False),
        ("coverage", "corners, k=5", False),
        ("memorisation-ratio", "corners, nearest of as many training as held-out", False),
        ("memorised-share", "corners, nearest of as many training as held-out", True),
        ("sliced-wasserstein", "pixels, 256 directions", True),
    ]
    assert all((score.num_samples, score.num_reference) == (20, 30) for score in scores)
    assert all(score.floor is not None for score in scores)


@pytest.mark.parametrize("name", set(gauges.KNOWN_OF_IMAGES) - {"memorisation"})
def test_every_measure_is_called_by_its_name_and_is_what_training_images_score_as_samples(name):
    """If there are exactly as many, the floor's random subset is all of them, in another order."""
    train, held_out = pictures(30, seed=2), pictures(30, seed=1)
    (score,) = judge_images(train, held_out, train, detector=KnowingCorners(), measures=[name])
    assert score.measure == name
    assert score.value == pytest.approx(score.floor, rel=1e-9)


def test_scores_come_in_the_order_in_which_they_are_asked_for():
    sets = pictures(20), pictures(30, seed=1), pictures(50, seed=2)
    measures = ["sliced-wasserstein", "coverage", "frechet"]
    scores = judge_images(*sets, detector=Corners(), measures=measures)
    assert [score.measure for score in scores] == measures


def test_the_frechet_score_is_the_distance_of_the_detectors_features():
    detector, samples, held_out = EffLite0(32), pictures(6, channels=3), pictures(7, seed=1, channels=3)
    score = judge_images(samples, held_out, pictures(6, seed=2, channels=3), detector=detector)[0]
    moments = [Moments.of(extract(detector, pixels)) for pixels in (samples, held_out)]
    assert score.value == pytest.approx(frechet_distance(*moments), rel=1e-9)
    assert score.protocol == "efflite0-32"


def test_training_images_as_samples_are_known_to_be_memorised():
    train, held_out = pictures(30, seed=2), pictures(30, seed=1)
    scores = by_name(judge_images(train, held_out, train, detector=Corners(), measures=["memorisation"]))
    assert scores["memorisation-ratio"].value == 0 and scores["memorised-share"].value == 1
    assert scores["memorisation-ratio"].floor == pytest.approx(1, abs=0.5)
    assert scores["memorised-share"].floor < 0.1


def test_fewer_real_images_than_samples_give_a_floor_that_says_of_how_many():
    held_out, train = pictures(30, seed=1), pictures(12, seed=2)
    scores = judge_images(pictures(40), held_out, train, detector=Corners())
    assert {score.num_samples for score in scores} == {40}
    assert all((score.num_real == 12) == ("memori" not in score.measure) for score in scores)
    moments = [Moments.of(extract(Corners(), pixels)) for pixels in (train, held_out)]
    assert scores[0].floor == pytest.approx(frechet_distance(*moments), rel=1e-6)
    assert f"real {scores[0].floor:.4g} of 12" in str(scores[0])


@pytest.mark.parametrize("measure", ["wasserstein", "class-score"])
def test_a_measure_that_fewer_real_images_do_not_suffice_for_has_no_floor(measure):
    """An exact pairing takes equal counts, a class score twenty images: the samples are judged all the same."""
    sets = pictures(30), pictures(30, seed=1), pictures(12, seed=2)
    (score,) = judge_images(*sets, detector=KnowingCorners(), measures=[measure])
    assert math.isfinite(score.value) and score.floor is None and "real" not in str(score)


def test_the_data_alone_are_remembered():
    asked = []

    def remember(detector, pixels, *, device):
        asked.append(pixels)
        return extract(detector, pixels, device=device)

    samples, held_out, train = pictures(20), pictures(30, seed=1), pictures(50, seed=2)
    plain = judge_images(samples, held_out, train, detector=Corners())
    assert judge_images(samples, held_out, train, detector=Corners(), remember=remember) == plain
    assert [len(pixels) for pixels in asked] == [30, 30]
    assert torch.equal(asked[0], held_out)


def test_worse_samples_score_worse_by_every_measure():
    train, held_out = pictures(60, seed=2), pictures(60, seed=1)
    good = judge_images(pictures(60), held_out, train, detector=Corners())
    bad = judge_images(pictures(60, low=180), held_out, train, detector=Corners())
    for better, worse in zip(good, bad, strict=True):
        assert better.floor == worse.floor
        # They are bright corners of what data are: each may be precise, and none is learned by heart.
        if better.measure not in ("precision", "density", "memorisation-ratio", "memorised-share"):
            assert (better.value < worse.value) == better.lower_is_better


def test_the_order_of_samples_does_not_matter():
    samples, others = pictures(20), (pictures(30, seed=1), pictures(50, seed=2))
    forward = judge_images(samples, *others, detector=Corners())
    backward = judge_images(samples.flip(0), *others, detector=Corners())
    for one, other in zip(forward, backward, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-9)


def test_a_texture_is_judged_by_its_responses():
    samples, held_out = pictures(20), pictures(30, seed=1)
    scores = by_name(judge_texture(samples, held_out, pictures(50, seed=2), detector=Corners()))
    means = [pixels[:, 0, :2, :2].double().mean(0) for pixels in (samples, held_out)]
    assert scores["response"].value == pytest.approx(float((means[0] - means[1]).abs().mean()))
    assert list(scores) == ["response", "kernel"]


@pytest.mark.parametrize("name", gauges.KNOWN_OF_POINTS)
def test_points_are_judged_by_any_measure_of_points(name):
    law = Normal()
    (score,) = judge_points(law.draw(50), law, measures=[name], energy=lambda x: -law.log_density(x))
    assert score.measure == name and score.floor is not None


def test_an_energy_that_is_the_laws_own_scores_zero():
    law = Normal()
    (score,) = judge_points(law.draw(50), law, measures=["kl"], energy=lambda x: 3 - law.log_density(x))
    assert score.value == pytest.approx(score.floor, abs=1e-6)
    with pytest.raises(ValueError, match="judges an energy, and there is none"):
        judge_points(law.draw(50), law, measures=["kl"])


def test_a_measure_that_is_not_known_is_refused_with_those_that_are():
    good = pictures(9)
    with pytest.raises(ValueError, match='no measure "fid" here: there are frechet, kernel'):
        judge_images(good, good, good, detector=Corners(), measures=["fid"])
    with pytest.raises(ValueError, match='no measure "frechet" here: there are sliced'):
        judge_points(Normal().draw(9), Normal(), measures=["frechet"])
    with pytest.raises(ValueError, match="corners knows no classes"):
        judge_images(good, good, good, detector=Corners(), measures=["class-score"])


def test_exact_draws_score_at_the_floor():
    """400 of them: energy distance 0 and log density minus the entropy, within 4 standard errors."""
    draws = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    scores = by_name(judge_points(draws, Normal()))
    assert set(scores) == {"energy-distance", "sliced-wasserstein", "log-density"}
    energy, log_density = scores["energy-distance"], scores["log-density"]
    assert abs(energy.value) < 4 * energy.error
    assert abs(log_density.value + math.log(2 * math.pi * math.e)) < 4 * log_density.error
    assert scores["sliced-wasserstein"].value < 3 * scores["sliced-wasserstein"].floor


def test_points_elsewhere_score_worse_than_the_floor():
    draws = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    for score in judge_points(draws + 1, Normal()):
        assert (score.value > score.floor) == score.lower_is_better


def test_judging_points_neither_moves_nor_follows_the_global_generator():
    points = Normal().draw(50)
    torch.manual_seed(5)
    first = judge_points(points, Normal())
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert judge_points(points, Normal()) == first


def test_a_point_outside_the_support_has_log_density_minus_infinity_and_no_error():
    points = torch.rand(50, 2, generator=torch.Generator().manual_seed(1))
    points[7] = 2
    score = by_name(judge_points(points, Square()))["log-density"]
    assert (score.value, score.error, score.floor) == (-math.inf, None, 0)


def test_a_score_is_one_line_that_says_all_and_never_the_name_of_another_score():
    score = Score("frechet", 41.2345, 0.51234, 1000, 2000, "efflite0-224", 12.34567, lower_is_better=True)
    line = "frechet 41.23 ± 0.51 (1000 samples against 2000, efflite0-224; real 12.35; lower is better)"
    assert str(score) == line
    scores = judge_images(pictures(9), pictures(9, seed=1), pictures(9, seed=2), detector=Corners())
    scores += judge_points(Normal().draw(9), Normal())
    for text in map(str, scores):
        assert "\n" not in text and "FID" not in text.upper()


def test_a_score_survives_json():
    score = Score("frechet", 41.2345, None, 1000, 2000, "efflite0-224", 12.3, lower_is_better=True)
    assert Score(**json.loads(json.dumps(score.as_dict()))) == score


def test_a_score_is_never_nan():
    with pytest.raises(ValueError, match="not a number"):
        Score("frechet", math.nan, None, 9, 9, "exact", None, lower_is_better=True)
    with pytest.raises(ValueError, match="not finite"):
        judge_points(torch.full((9, 2), torch.nan), Normal())


def test_sets_that_cannot_be_judged_are_refused_in_a_sentence():
    good = pictures(9)
    with pytest.raises(ValueError, match="samples must be uint8"):
        judge_images(good.float(), good, good, detector=Corners())
    with pytest.raises(ValueError, match="5 held-out images are too few"):
        judge_images(good, good[:5], good, detector=Corners())
    with pytest.raises(ValueError, match=r"training images are \[1, 8, 4\]"):
        judge_images(good, good, good[..., :4], detector=Corners())
    with pytest.raises(ValueError, match="2 points are too few"):
        judge_points(torch.zeros(2, 2), Normal())
    with pytest.raises(ValueError, match=r"not of the toy's shape \[2\]"):
        judge_points(torch.zeros(9, 3), Normal())
