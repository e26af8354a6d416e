"""What is told before the first step, of data that do not look as images should."""

import pytest
import torch
from torch import nn

from evolvent.dynamics import Langevin
from evolvent.energy import Energy
from evolvent.learners.gcn import GCN
from evolvent.particles import Fresh
from evolvent.reference import Uniform
from evolvent.shapes import carry
from evolvent.storage.reading import read_log
from evolvent.training.checks import odd_range
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.session import train
from evolvent.training.trainer import Trainer
from tests.tiny import Heard, create

SHAPE = (3, 4, 4)
FROM_0_TO_1 = torch.linspace(0, 1, 8 * 48).view(8, *SHAPE)


class Bright(nn.Module):
    """A source of one's own, whose images lie in [0, 1]."""

    event_shape = SHAPE

    def draw(self, num):
        return FROM_0_TO_1[:num]


@pytest.mark.parametrize(
    "data, told",
    [
        (2 * FROM_0_TO_1 - 1, None),
        (1.2 * (2 * FROM_0_TO_1 - 1), None),  # a little beyond is somebody's normalisation
        (FROM_0_TO_1, "from 0 to 1,"),
        (255 * FROM_0_TO_1, "from 0 to 255,"),
        (4 * FROM_0_TO_1 - 2, "from -2 to 2,"),
        (torch.nan * FROM_0_TO_1, None),  # is the first look's to tell
    ],
)
def test_images_out_of_range_are_told_of_with_the_way_out(data, told):
    found = odd_range(lambda: data, SHAPE)
    assert found is None if told is None else told in found and "x / 127.5" in found


def test_labels_are_no_pixels_and_points_have_no_range():
    assert odd_range(lambda: carry(2 * FROM_0_TO_1 - 1, torch.arange(8)), SHAPE) is None
    assert odd_range(lambda: 100 * torch.randn(8, 2), (2,)) is None


def test_a_run_says_so_once_and_keeps_it_in_its_log(tmp_path):
    energy = Energy(nn.Sequential(nn.Flatten(), nn.Linear(48, 1), nn.Flatten(0)), Uniform(SHAPE))
    learner = GCN(energy, Fresh(energy.reference), Langevin(0.01, 1))
    heard = Heard()

    def go_on(num_steps):
        trainer = Trainer(learner, Bright(), Schedule(num_steps, 8, {"energy": Adam(1e-4)}))
        return trainer, train(run, trainer, show=heard, max_minutes=0 if num_steps == 9 else None)

    with create(tmp_path / "run") as run:
        go_on(9)
        go_on(3)
    told = [line["warning"] for line in read_log(tmp_path / "run/log.jsonl") if "warning" in line]
    assert told == heard.sentences and len(told) == 1 and "from 0 to 1," in told[0]
