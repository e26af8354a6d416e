import pytest
import torch
from torch.nn.functional import avg_pool2d

from evolvent.cli.main import main
from evolvent.nets.enlarging import doublings, with_stages_of
from evolvent.nets.mapping import ResidualMapping
from evolvent.nets.score import ResidualScore
from evolvent.storage.reading import read_record


def model(size, patch):
    nets = {"mapping": ResidualMapping(size, 3, num_hidden=5, width=4, growth=2)}
    nets["energy"] = ResidualScore(size, 3, width=4, growth=2, patch=patch)
    return torch.nn.ModuleDict(nets)


@pytest.fixture(params=[1, 2])
def grown(request):
    """A model of 32 px, one begun from it of a side doubled once or twice, and how many times that is."""
    torch.manual_seed(0)
    small, large = model(32, 2), model(32 * 2**request.param, 2 * 2**request.param)
    assert doublings(large, small.state_dict()) == request.param
    large.load_state_dict(with_stages_of(large, small.state_dict()))
    return small, large, 2**request.param


def before_tanh(mapping, hidden):
    said = []
    handle = mapping.read_out.register_forward_hook(lambda module, heard, given: said.append(given))
    mapping(hidden)
    handle.remove()
    return said[0]


def test_a_larger_mapping_begins_with_the_images_of_the_smaller_one(grown):
    small, large, times = grown
    hidden = torch.randn(6, 5)
    shrunk = avg_pool2d(before_tanh(large["mapping"], hidden), times)
    assert torch.allclose(shrunk, before_tanh(small["mapping"], hidden), atol=1e-4)


def test_a_larger_energy_begins_as_that_of_the_shrunk_image(grown):
    small, large, times = grown
    points = torch.randn(3, 3, 32 * times, 32 * times)
    assert torch.allclose(large["energy"](points), small["energy"](avg_pool2d(points, times)), atol=1e-5)


def test_every_new_block_and_both_ends_hear_a_gradient(grown):
    _, large, times = grown
    large["energy"](large["mapping"](torch.randn(4, 5))).sum().backward()
    new = [large["mapping"].stages[4 + k][0].second for k in range(times // 2)]
    ends = [large["mapping"].read_out, large["energy"].stem]
    assert all(layer.weight.grad.abs().sum() > 0 for layer in (*new, *ends))


def test_weights_that_fit_or_are_of_other_nets_stay_as_they_are():
    own = model(32, 2)
    weights = own.state_dict()
    other = {"first.weight": torch.zeros(1)}
    assert with_stages_of(own, weights) is weights and with_stages_of(model(64, 4), other) is other
    # Its stages are those of 32 px, one resolution up.
    narrow = ResidualMapping(16, 3, num_hidden=5, width=4, growth=2)
    assert doublings(own["mapping"], narrow.state_dict()) == 0


def test_a_score_of_other_channels_is_left_for_the_loading_to_refuse():
    grey = model(32, 2).state_dict() | {"energy.stem.weight": torch.zeros(4, 4, 3, 3)}
    begun = with_stages_of(model(64, 4), grey)
    assert begun["energy.stem.weight"] is grey["energy.stem.weight"]


def test_new_blocks_are_alike_whatever_the_seed():
    weights = model(32, 2).state_dict()
    first, second = (with_stages_of(model(64, 4), weights) for _ in range(2))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_training_begins_larger_from_weights_and_says_so(tmp_path, capsys, begun_from_small):
    begun = [*begun_from_small(tmp_path / "small", 64), "--size", "64"]
    assert main([*begun, "--patch", "2", "--out", str(tmp_path / "finer")]) == 2
    assert "begin with patches of twice the side of theirs, not of 2" in capsys.readouterr().err
    assert not (tmp_path / "finer").exists()
    assert main([*begun, "--patch", "4", "--out", str(tmp_path / "large")]) == 0
    told = f"images have 2 times the side of those of {tmp_path}/small, and begin without any detail of their own\n"
    assert told in capsys.readouterr().out
    assert read_record(tmp_path / "large")["arguments"]["size"] == 64
