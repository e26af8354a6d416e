"""What a model costs is counted, and is what its dynamics say it should be."""

import json

import pytest
import torch
from torch import nn

from evolvent.cli.main import main
from evolvent.cost import gradients_a_sample, parameters, peak_memory
from evolvent.dynamics import MALA, Independent, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO
from evolvent.learners.amortized import Adversarial
from evolvent.learners.ggcn import GGCN
from evolvent.reference import Gaussian
from evolvent.storage.reading import read_lines, read_record, read_scores


@pytest.fixture
def learner():
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    mapping = nn.Linear(3, 2)
    mapping.num_hidden = 3
    return GGCN(
        Energy(net, Gaussian((2,))), mapping, flow=JKO(), mapping_loss=Adversarial(), training={}, sampling={}
    )


@pytest.mark.parametrize(
    "stages, gradients",
    [
        ({}, 0),
        ({"selection": Independent(num_steps=9)}, 0),
        ({"hidden": Langevin(0.1, 7)}, 7),
        ({"selection": Independent(num_steps=9), "hidden": Langevin(0.1, 7), "image": Langevin(0.1, 2)}, 9),
        ({"image": MALA(0.1, 4)}, 5),  # a refusal must know the slope where it begins and where it would end
        ({"image": Langevin(0.1, 5, compiled=True)}, 5),
    ],
)
def test_a_sample_takes_a_gradient_a_force_and_none_for_what_goes_by_energy_alone(learner, stages, gradients):
    assert gradients_a_sample(learner, stages) == gradients
    assert not any(module._forward_hooks for module in learner.modules()), "it goes on counting"


def test_parameters_are_counted_by_part_and_parts_without_any_left_out(learner):
    assert parameters(learner) == {"energy": 3 * 8 + 9, "mapping": 3 * 2 + 2}


def test_the_peak_has_room_for_what_was_held():
    before, held = peak_memory("cpu"), torch.ones(2**25)
    assert peak_memory("cpu") >= max(before, held.nbytes)


def test_training_evaluation_report_and_card_tell_what_the_model_cost(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["train", "toy-ring-gcn", "--num-steps", "2", "--out", "run"]) == 0
    record = read_record(tmp_path / "run")
    assert sum(record["parameters"].values()) > 1000 and record["peak_memory"] > 2**20
    assert main(["evaluate", "run", "--num", "40"]) == 0
    assert "cost: 1000 gradients a sample, " in capsys.readouterr().out
    cost = read_lines(tmp_path / "run/scores.jsonl")[-1]["cost"]
    assert cost["gradients"] == 1000 and 0 < cost["seconds"] < 60
    assert main(["evaluate", "run", "--num", "40", "--num-steps", "5"]) == 0
    assert "cost: 5 gradients a sample, " in capsys.readouterr().out
    assert main(["report", "run"]) == 0
    told = capsys.readouterr().out
    assert [line.split("│")[2].strip() for line in told.splitlines() if "gradients a sample" in line] == [
        "1000"
    ]
    assert all(name in told for name in ("parameters", "peak memory, MiB", "s per 1,000 samples"))
    assert main(["export", "run", "--out", "card"]) == 0
    assert f"at most {record['peak_memory'] / 2**20:,.0f} MiB" in (tmp_path / "card/README.md").read_text()


def test_a_cost_that_is_none_is_told_of_by_its_line(tmp_path):
    line = {"step": 1, "measure": "frechet", "protocol": "pixels", "num_samples": 9, "num_reference": 8}
    line |= {"value": 1.0, "floor": 0.5, "lower_is_better": True, "against": None, "asked": None}
    for cost in (None, {"gradients": 2.0, "seconds": 0.1}):
        (tmp_path / "scores.jsonl").write_text(json.dumps(line | {"cost": cost}) + "\n")
        assert read_scores(tmp_path / "scores.jsonl") == [line | {"cost": cost}]
    for odd in ("dear", [2.0], {"gradients": 2.0}, {"gradients": "two", "seconds": 0.1}):
        (tmp_path / "scores.jsonl").write_text(json.dumps(line | {"cost": odd}) + "\n")
        with pytest.raises(ValueError, match="line 1 is no score, by its cost"):
            read_scores(tmp_path / "scores.jsonl")


WITHOUT_ENERGY = """
from torch import nn

import evolvent as ev
from evolvent.data.toys import Ring
from evolvent.learners.update import Update
from evolvent.metrics.scores import judge_points


class Drawn(nn.Module):
    stages = {}

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 1)

    def forward(self, data):
        return Update({"net": self.net(data).square().mean()}, data, {})

    def sample(self, num, noise, stages=None):
        return noise.normal(num, 2)


def drawn() -> ev.Experiment:
    return ev.Experiment(Drawn(), Ring, ev.Schedule(2, 8, {"net": ev.Adam(1e-3)}), Ring, judge_points)
"""


def test_of_a_learner_without_an_energy_no_gradients_are_claimed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(WITHOUT_ENERGY)
    assert main(["train", "mine.py:drawn", "--out", "run"]) == 0
    assert main(["evaluate", "run", "--num", "40", "--measures", "energy-distance"]) == 0
    assert "cost:" not in capsys.readouterr().out
    assert main(["report", "run"]) == 0
    assert "gradients a sample" not in capsys.readouterr().out
