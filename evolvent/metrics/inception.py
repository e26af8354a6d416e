"""The Inception network of the published FID, KID and IS, through torch-fidelity (`pip install 'evolvent[fid]'`).

Under it alone do scores bear those names. The resize to 299 px is TensorFlow 1's, which does not antialias,
and is part of what the published figures mean; so are the weights (2015-12-05), whose digest is in the name.

    Heusel et al., NeurIPS 2017 (FID); Bińkowski et al., ICLR 2018 (KID); Salimans et al., NeurIPS 2016 (IS).
"""

from pathlib import Path

import torch
from torch import nn

from evolvent.metrics.features import Features, digest
from evolvent.shapes import Pixels

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
"""As torch-fidelity's release v0.2.0 has them."""


class Inception(nn.Module):
    """2048 features and 1008 classes. Raises ValueError without torch-fidelity or its weights.

    weights: the file `WEIGHTS`; None lets torch-fidelity fetch it once into torch's own cache.
    """

    resize = "to 299 px, bilinear as TensorFlow 1"

    def __init__(self, weights: Path | str | None = None) -> None:
        super().__init__()
        self.net = _network(weights).requires_grad_(False)
        self.name = f"inception-{digest(self.net)[:8]}"

    @torch.no_grad()
    def forward(self, pixels_uint8: Pixels) -> Features:
        """float32 [n, 2048]: the last average pooling."""
        return self.net(pixels_uint8.expand(-1, 3, -1, -1))[0]

    @torch.no_grad()
    def logits(self, features: Features) -> Features:
        """float64 [n, 1008], without the bias, as the published score has them."""
        return features.double() @ self.net.fc.weight.double().T


def _network(weights: Path | str | None) -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError(
            f"the detector inception needs torch-fidelity ({error}): pip install 'evolvent[fid]', or leave"
            " --detector out"
        ) from error
    if weights is not None:
        _check_weights(Path(weights))
    path = None if weights is None else str(weights)
    try:
        return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=path)
    except OSError as error:
        raise ValueError(
            f"the weights of inception cannot be fetched ({error}): download {WEIGHTS} of torch-fidelity's release"
            " v0.2.0 elsewhere and give --detector inception:PATH"
        ) from error
    except RuntimeError as error:
        raise ValueError(f"{weights} are not the weights of inception: {WEIGHTS} is needed") from error


def _check_weights(path: Path) -> None:
    """torch-fidelity unpickles what it is given: look first whether it holds tensors alone."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}: the weights of inception are {WEIGHTS}")
    try:
        torch.load(path, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as weights ({type(error).__name__}): {WEIGHTS} is needed"
        ) from error
