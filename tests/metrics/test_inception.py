"""With a stand-in for torch-fidelity, which the tests do not install: its interface, not its network."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from evolvent.metrics import Inception, Score, extract, judge_images

PLACE = "torch_fidelity.feature_extractor_inceptionv3"


class Extractor(nn.Module):
    """As torch-fidelity's: built with its weights, it answers a tuple of features of pictures of 3 colours."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert features_list == ["2048"]
        self.fc = nn.Linear(4, 3)
        if feature_extractor_weights_path is None:
            raise OSError("Name or service not known")
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))

    def forward(self, pixels_uint8):
        assert pixels_uint8.dtype == torch.uint8 and pixels_uint8.shape[1] == 3
        return (pixels_uint8[:, 2, :2, :2].flatten(1).float(),)


@pytest.fixture
def installed(monkeypatch):
    module = ModuleType(PLACE)
    module.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, PLACE, module)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    torch.save(nn.ModuleDict({"fc": nn.Linear(4, 3)}).state_dict(), tmp_path / "w.pth")
    return tmp_path / "w.pth"


def pictures(n, *, seed=0):
    return torch.randint(256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(seed)).byte()


def test_under_it_alone_scores_bear_the_published_names(installed, weights):
    sets = [pictures(30, seed=seed) for seed in range(3)]
    measures = ["frechet", "kernel", "class-score", "coverage"]
    scores = judge_images(*sets, detector=Inception(weights), measures=measures)
    assert [score.measure for score in scores] == ["FID", "KID", "IS", "coverage"]
    assert all(isinstance(score, Score) and "inception-" in score.protocol for score in scores)
    assert {score.resize for score in scores} == {"to 299 px, bilinear as TensorFlow 1"}


def test_its_name_knows_the_weights(installed, weights, tmp_path):
    torch.save(nn.ModuleDict({"fc": nn.Linear(4, 3)}).state_dict(), tmp_path / "other.pth")
    assert Inception(weights).name == Inception(weights).name != Inception(tmp_path / "other.pth").name


def test_its_classes_have_no_bias(installed, weights):
    detector = Inception(weights)
    features = extract(detector, pictures(5))
    expected = features.double() @ detector.net.fc.weight.double().T
    torch.testing.assert_close(detector.logits(features), expected)


def test_without_the_package_its_weights_or_a_file_the_way_out_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, PLACE, None)
    with pytest.raises(ValueError, match=r"pip install 'evolvent\[fid\]'"):
        Inception()


def test_weights_that_cannot_be_had_are_told(installed, weights, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be fetched .* give --detector inception:PATH"):
        Inception()
    with pytest.raises(ValueError, match="there is no file"):
        Inception(tmp_path / "nowhere.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        Inception(tmp_path / "junk.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "alien.pth")
    with pytest.raises(ValueError, match="not the weights of inception"):
        Inception(tmp_path / "alien.pth")
