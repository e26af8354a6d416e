"""recipes/textures.py: what the picture is cut into, how it is judged, and what a saved model brings along."""

import pytest
import torch

from evolvent.cli.main import main
from evolvent.data import Crops, texture, to_particles, to_pixels
from evolvent.data.textures import prepare
from evolvent.metrics.features import extract
from evolvent.metrics.scores import judge_texture
from evolvent.nets.filters import FilterScore
from evolvent.pretrained import from_pretrained
from evolvent.recipes import find, textures
from evolvent.training.trainer import Trainer

RECIPES = [textures.texture_frame, textures.texture_gcn]
SHORT = {"num_steps": 3, "batch_size": 2, "chain_steps": 2, "num_slots": 2, "sampling_steps": 2}


def reference(recipe):
    return f"{textures.__file__}:{recipe.__name__}"


def trained_and_saved(recipe, folder):
    """The run folder of three steps under seed 5."""
    options = [word for key, value in SHORT.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    assert main(["train", reference(recipe), "--out", str(folder), "--seed", "5", *options]) == 0
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_few_steps_move_weights_and_particles_and_leave_all_finite(recipe):
    torch.manual_seed(0)
    experiment = recipe(**SHORT)
    before = [weight.clone() for weight in experiment.learner.parameters()]
    trainer = Trainer(experiment.learner, experiment.data(), experiment.schedule)
    while not trainer.finished:
        update = trainer.advance()
    after = list(experiment.learner.parameters())
    assert all(weight.isfinite().all() for weight in (*after, update.particles))
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert update.stats["distance"] > 0


def test_the_score_of_frame_is_zero_before_learning():
    energy = textures.texture_frame(**SHORT).learner.energy
    x = torch.randn(2, 1, 64, 64)
    assert not energy.net(x).any()
    assert torch.allclose(energy.force(x), x / 0.4**2)


def test_sampling_a_saved_model_draws_no_data(tmp_path, monkeypatch):
    run = trained_and_saved(textures.texture_gcn, tmp_path / "run")

    def draw(*arguments):
        raise AssertionError("data were drawn")

    monkeypatch.setattr(Crops, "draw", draw)
    assert main(["sample", str(run), "--num", "2", "--out", f"{tmp_path}/samples.png"]) == 0


def test_a_saved_frame_brings_the_units_of_its_filters(tmp_path):
    """The recipe calibrates on windows drawn under the seed at hand, 0 when a model is loaded; the file wins."""
    loaded = from_pretrained(trained_and_saved(textures.texture_frame, tmp_path / "run")).learner.energy.net
    theirs = find.build(textures.texture_frame, SHORT, seed=5).learner.energy.net
    others = find.build(textures.texture_frame, SHORT, seed=0).learner.energy.net
    assert torch.equal(loaded.centres, theirs.centres) and torch.equal(loaded.deviations, theirs.deviations)
    assert not torch.equal(loaded.centres, others.centres)


@pytest.mark.parametrize("name", textures.LOOKS)
def test_the_windows_that_judge_share_no_pixel_with_those_that_teach(name):
    parts, look = textures.parts_of(name, None, None), textures.LOOKS[name]
    picture = prepare(texture(name), **look._asdict(), grain=textures.GRAIN)
    height, width = picture.shape[1:]
    sides = (part.pixels.view(1, height, -1) for part in parts)
    assert torch.equal(torch.cat(list(sides), 2), picture)
    assert parts.train.num_positions == (height - 63) * (width - 127)


def test_a_picture_must_hold_two_windows():
    with pytest.raises(ValueError, match="brick is 64 × 64 px once prepared"):
        textures.parts_of("brick", 8, None)


def test_the_distance_between_responses_is_that_of_the_score_with_the_same_filters():
    torch.manual_seed(0)
    given = to_pixels(textures.parts_of("gravel", None, None).held_out.draw(12))
    noise = torch.randint(256, (12, 1, 64, 64), dtype=torch.uint8)
    detector, bank = textures.Responses(given), FilterScore(1)
    bank.calibrate(to_particles(given))
    measured, _ = judge_texture(noise, given, given, detector=detector)
    means = [bank.mean_responses(to_particles(pixels)).mean(0) for pixels in (noise, given)]
    assert measured.value == pytest.approx(float((means[0] - means[1]).abs().mean()), rel=1e-4)
    # Real windows against themselves; noise has other responses by many times what windows differ by.
    assert measured.floor == pytest.approx(0, abs=1e-6)
    assert measured.value > 0.1
    assert extract(detector, given).shape == (12, bank.weights.numel())
