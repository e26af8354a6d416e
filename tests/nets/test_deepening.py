import copy

import pytest
import torch

from evolvent.cli.main import main
from evolvent.nets.deepening import missing_blocks, with_blocks_of
from evolvent.nets.score import ResidualScore, wake
from evolvent.storage.reading import read_record


@pytest.fixture
def nets():
    """A score, one of three blocks at every resolution, and points for them."""
    shallow, deep = (ResidualScore(8, 1, width=4, depth=depth) for depth in (1, 3))
    return shallow, deep, torch.randn(3, 1, 8, 8)


def redrawn(net):
    other = copy.deepcopy(net)
    wake(other)
    return other


def deepened(shallow, deep):
    deep.load_state_dict(with_blocks_of(deep, shallow.state_dict()))
    return deep


def test_a_deeper_net_begins_as_the_same_function_to_the_last_bit(nets):
    shallow, deep, points = nets
    drawn = deep(points)
    assert torch.equal(deepened(shallow, deep)(points), shallow(points))
    assert not torch.equal(drawn, shallow(points))


def test_every_new_block_hears_a_gradient(nets):
    shallow, deep, points = nets
    new = missing_blocks(deep, shallow.state_dict())
    deepened(shallow, deep)(points).square().sum().backward()
    assert len(new) == 4  # two at 8 px, two at 4 px
    assert all(deep.get_submodule(path).second.weight.grad.abs().sum() > 0 for path in new)


def test_weights_that_fit_or_are_of_other_nets_stay_as_they_are(nets):
    shallow, deep, _ = nets
    own = deep.state_dict()
    assert with_blocks_of(deep, own) == own
    other = {"first.weight": torch.zeros(1)}
    assert with_blocks_of(deep, other) == other
    with pytest.raises(
        ValueError, match=r"3 residual blocks in stages.0 and this model 1.* a depth of 3 or more"
    ):
        with_blocks_of(shallow, own)


def test_new_blocks_are_alike_whatever_the_seed_and_unlike_each_other(nets):
    shallow, deep, _ = nets
    torch.manual_seed(1)
    before = torch.get_rng_state()
    begun = with_blocks_of(deep, shallow.state_dict())
    assert torch.equal(torch.get_rng_state(), before)  # nor does it cost the run any of its noise
    torch.manual_seed(2)
    again = with_blocks_of(redrawn(deep), shallow.state_dict())
    assert begun.keys() == again.keys() and all(torch.equal(begun[name], again[name]) for name in begun)
    first, second = (begun[f"{path}.first.weight"] for path in missing_blocks(deep, shallow.state_dict())[:2])
    assert not torch.allclose(first, second)


def test_training_begins_deeper_from_weights_and_says_so(tmp_path, capsys, begun_from_small):
    begun = [*begun_from_small(tmp_path / "shallow", 8, "--size", "8"), "--depth", "2"]
    assert main([*begun, "--out", str(tmp_path / "deep")]) == 0
    told = f"2 residual blocks that the weights in {tmp_path}/shallow lack begin as the identity\n"
    assert capsys.readouterr().out.count(told) == 1
    assert read_record(tmp_path / "deep")["arguments"]["depth"] == 2
    capsys.readouterr()
    back = ["train", "--init-from", str(tmp_path / "deep"), "--depth", "1", "--out", str(tmp_path / "back")]
    assert main(back) == 2
    assert "have 2 residual blocks in energy.net.stages.0 and this model 1" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()
