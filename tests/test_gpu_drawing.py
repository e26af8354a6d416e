"""What a GPU must draw and measure, at toy size; how it trains is in `test_gpu.py`, which says what both are."""

import numpy as np
import pytest
import torch
from each import CHAIN, LEARNERS, SHAPE, built, conditional, images, no_waiting, trainer
from PIL import Image
from torch import nn

import evolvent.machine
from evolvent.cli.main import main
from evolvent.data import Stream
from evolvent.data.arrays import file_album
from evolvent.data.pixels import to_pixels
from evolvent.metrics.efflite0 import EffLite0
from evolvent.metrics.features import extract
from evolvent.metrics.frechet import Moments, frechet_distance
from evolvent.metrics.gauges import KNOWN_OF_IMAGES
from evolvent.metrics.scores import judge_images
from evolvent.nets.retelling import with_classes_of
from evolvent.observed import complete
from evolvent.sampling import draw
from evolvent.views import Coarse, Grey, Masked


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_sample_is_that_of_a_cpu(name, device, precision, monkeypatch):
    monkeypatch.setattr(evolvent.machine, "gains_from_bfloat16", lambda _: True)
    learner = built(name).eval().requires_grad_(False)
    exact = draw(learner, 6, seed=3, batch_size=8)
    found = draw(learner.to(device), 6, seed=3, batch_size=8, device=device, precision=precision)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4 if precision == "float32" else 0.1)


@pytest.mark.parametrize("view", [Masked(torch.ones(SHAPE).tril()), Coarse(SHAPE[-1], 2), Grey()])
@pytest.mark.parametrize("name", ["wgcn", "as on a GPU", "by class"])
def test_a_completion_is_that_of_a_cpu_wherever_view_and_labels_lie(name, view, device):
    learner = built(name).eval().requires_grad_(False)
    seen = torch.rand(5, *SHAPE)
    how = {"stages": {"image": CHAIN}, "batch_size": 4}
    how |= {"labels": torch.tensor([0, 2, 1, 1, 0])} if hasattr(learner, "num_classes") else {}
    exact = complete(learner, seen, view, **how)
    found = complete(learner.to(device), seen.to(device), view, **how)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)


def test_an_evolution_is_drawn_as_on_a_cpu(device, tmp_path, capsys):
    """Of the digits that ship: 8 bits, and a value at the border of two."""
    words = (
        "evolve digits --num 2 --frames 2 --batch-size 2 --dynamics hidden --num-steps 2 --precision float32"
    )
    shown = []
    for each in (device, "cpu"):
        out = tmp_path / f"{each}-{len(shown)}.png"
        assert main([*words.split(), "--device", each, "--out", str(out)]) == 0
        shown.append(np.asarray(Image.open(out)).astype(int))
    assert abs(shown[0] - shown[1]).max() <= 1


def test_a_model_of_a_gpu_that_is_told_classes_draws_what_it_drew(device):
    """Codes are as long as they were, and half of what the mapping hears then is the class's."""
    run = trainer(built("amortised"), device, images())
    run.advance()
    before, told = run.averaged, conditional(num_hidden=8)
    weights = {name: tensor.cpu() for name, tensor in before.state_dict().items()}
    told.load_state_dict(with_classes_of(told, weights))
    told.to(device).eval()
    how = {"batch_size": 4, "device": device, "stages": {}}
    x = draw(before, 4, **how)
    torch.testing.assert_close(draw(told, 4, **how), x, rtol=0, atol=1e-5)
    x, labels = x.to(device), torch.tensor([0, 1, 2, 0], device=device)
    torch.testing.assert_close(told.energy.given(labels)(x), before.energy(x), rtol=1e-4, atol=1e-4)


@pytest.fixture
def streamed(tmp_path):
    """Images [40, 8, 8, 3] of a file; image k is k all over."""
    pixels = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    labels = np.arange(40) % 3
    np.savez(tmp_path / "set.npz", train_x=pixels, train_y=labels)
    return Stream(file_album(tmp_path / "set.npz").rows, torch.from_numpy(labels))


def test_batches_of_a_stream_do_not_overwrite_each_other(streamed, device):
    """They are asked for long before a busy GPU has copied them; rows and labels are those of the CPU's generator."""
    stream, batches, rows = streamed.with_labels(3).to(device), [], []
    with no_waiting(device):
        for seed in range(6):
            if device == "cuda":
                torch.cuda._sleep(20_000_000)
            torch.manual_seed(seed)
            rows.append(torch.randint(40, (16,)))
            torch.manual_seed(seed)
            batches.append(stream.draw(16))
    for index, batch in zip(rows, batches, strict=True):
        assert batch.device.type == device
        assert torch.equal(to_pixels(batch[:, :3].cpu())[:, 0, 0, 0].long(), index)
        assert torch.equal(batch[:, 3, 0, 0].cpu().long(), index % 3)


def test_a_step_on_a_stream_waits_for_nothing_but_its_buffer(streamed, device):
    run = trainer(built("by class"), device, streamed)
    run.advance()
    with no_waiting(device):
        run.advance()
    assert all(np.isfinite(list(run.signs.read().values())))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_stream_is_refused_by_a_captured_run_before_it_begins_on_a_gpu(streamed):
    with pytest.raises(ValueError, match="captured false"):
        trainer(built("wgcn"), "cuda", streamed, captured=True)


class Tones(nn.Module):
    """A detector of nine numbers, which knows three classes."""

    name = "tones"

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(9, 192, generator=torch.Generator().manual_seed(0)) / 100)

    def forward(self, pixels_uint8):
        return (pixels_uint8.flatten(1).float() / 128 - 1) @ self.weight.T

    def logits(self, features):
        return features.double()[:, :3]


def test_every_score_is_that_of_a_cpu(device):
    sets = [torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8) for _ in range(3)]
    scores, same = (
        judge_images(*sets, detector=Tones(), device=each, measures=KNOWN_OF_IMAGES)
        for each in (device, "cpu")
    )
    for score, other in zip(scores, same, strict=True):
        assert score.value == pytest.approx(other.value, rel=1e-4, abs=1e-5)
        assert score.floor == pytest.approx(other.floor, rel=1e-4, abs=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_half_precision_on_a_gpu_moves_the_features_by_a_frechet_distance_of_005_at_most():
    """2,000 pictures of smooth noise, the same on both sides."""
    coarse = torch.rand(2000, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    pixels = (nn.functional.interpolate(coarse, 32, mode="bicubic").clamp(0, 1) * 255).byte()
    detector = EffLite0(96)
    exact = Moments.of(extract(detector, pixels))
    half = Moments.of(extract(detector, pixels, device="cuda").cpu())
    assert frechet_distance(exact, half) <= 0.05


@pytest.mark.parametrize("period", [1, 2, 7, 64])
def test_half_precision_holds_the_hardest_pictures(period, device):
    """Stripes of black and white: no feature overflows, and none is farther off than 2 % of the largest."""
    stripes = (torch.arange(64) // period % 2 * 255).byte().expand(2, 3, 64, 64).contiguous()
    exact, found = extract(EffLite0(64), stripes), extract(EffLite0(64), stripes, device=device).cpu()
    torch.testing.assert_close(found, exact, rtol=0, atol=float(exact.abs().max()) / 50)
