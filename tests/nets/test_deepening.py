import numpy as np
import pytest
import torch

from evolvent.cli.main import main
from evolvent.nets.deepening import missing_blocks, with_blocks_of
from evolvent.nets.mapping import ResidualMapping
from evolvent.nets.score import ResidualScore
from evolvent.storage.reading import read_record

NETS = {
    "score": (lambda depth: ResidualScore(8, 1, width=4, depth=depth), (3, 1, 8, 8)),
    "mapping": (lambda depth: ResidualMapping(8, 1, num_hidden=5, width=4, depth=depth), (3, 5)),
}


@pytest.fixture(params=NETS)
def nets(request):
    """A net, one of three blocks at every resolution, and points for them."""
    make, shape = NETS[request.param]
    return make(1), make(3), torch.randn(shape)


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
    assert with_blocks_of(shallow, own) == own  # blocks are never dropped: to load these is refused


def test_training_begins_deeper_from_weights_and_says_so(tmp_path, capsys):
    np.save(tmp_path / "few.npy", np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8))
    narrow = "--batch-size 2 --width 2 --mapping-width 2 --num-hidden 2 --size 8 --num-steps 1 --threads 1"
    words = ["train", "images", "--data", str(tmp_path / "few.npy"), *narrow.split()]
    assert main([*words, "--out", str(tmp_path / "shallow")]) == 0
    begun = ["train", "--init-from", str(tmp_path / "shallow"), "--depth", "2"]
    assert main([*begun, "--out", str(tmp_path / "deep")]) == 0
    told = f"2 residual blocks that the weights in {tmp_path}/shallow lack begin as the identity\n"
    assert capsys.readouterr().out.count(told) == 1
    assert read_record(tmp_path / "deep")["arguments"]["depth"] == 2
