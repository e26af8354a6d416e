"""Which images does an energy find less likely than held-out ones, and which does it not?

    python benchmarks/energy_detection.py cifar10.npz --others digits fashion-mnist

Held-out images are spoilt in ways that go from noise to nothing but a colour, and other sets are taken beside them; the
model's own births and its training images too. Of each the AUROC by the energy of no class, its error, and the
difference of the mean energies. Above 1/2 the energy finds the held-out images likelier.
"""

import argparse
import time

import torch
from metrics_monotonicity import blurred, noisy
from torch import Tensor

import evolvent
from evolvent.data import load, to_pixels
from evolvent.data.readers import from_file, splits_of
from evolvent.metrics import auroc
from evolvent.metrics.scores import shuffled
from evolvent.pretrained import Saved, from_pretrained


def spoilt(pixels: Tensor) -> dict[str, Tensor]:
    """The same images in many ways, and noise and colours in their place."""
    generator = torch.Generator().manual_seed(0)
    num, channels, height, width = pixels.shape

    def uniform(*shape: int) -> Tensor:
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8).expand_as(pixels)

    order = torch.rand(num, 1, height * width, generator=generator).argsort(2).expand(-1, channels, -1)
    mean = pixels.float().mean((2, 3), keepdim=True)
    sets = {"uniform noise": uniform(*pixels.shape)}
    sets["its pixels in any order"] = pixels.flatten(2).gather(2, order).view_as(pixels)
    sets |= {f"noise {std}": noisy(pixels, std) for std in (8, 16, 32, 64)}
    sets |= {f"blur {std}": blurred(pixels, std) for std in (0.5, 1.0, 2.0, 4.0)}
    sets["half the contrast"] = (mean + (pixels - mean) / 2).round().byte()
    sets["its mean colour alone"] = mean.round().byte().expand_as(pixels)
    sets["a random colour alone"] = uniform(num, channels, 1, 1)
    sets["mid-grey alone"] = torch.full_like(pixels, 128)
    sets["upside down"] = pixels.flip(2)
    sets["mirrored"] = pixels.flip(3)
    sets["inverted"] = 255 - pixels
    return sets


def others(spec: str, shape: tuple[int, ...], num: int) -> Tensor:
    """`num` random images of another set, as pictures of the model's size and channels."""
    split = "test" if "test" in splits_of(spec) else "train"
    return shuffled(load(spec, max(shape[1:]), split=split, channels=shape[0]).pixels)[:num]


def measured(saved: Saved, held_out: Tensor, sets: dict[str, Tensor]) -> None:
    def told(pixels: Tensor) -> Tensor:
        return evolvent.energies(saved.learner, pixels).energy

    usual = told(held_out)
    print(f"held out: {len(usual)} images, spread of U {float(usual.std()):.3g}\n")
    print("| against | images | AUROC | mean U above held-out |\n|---|---|---|---|")
    for name, pixels in sets.items():
        found = told(pixels)
        value, error = auroc(usual, found)
        within = "" if error is None else f" ± {error:.3f}"
        print(f"| {name} | {len(found)} | {value:.3f}{within} | {float(found.mean() - usual.mean()):+.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="an .npz with train_x and test_x")
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--others", nargs="*", default=[], help="sets as `evolvent.data.load` names them")
    arguments = parser.parse_args()
    num, begun = arguments.num, time.monotonic()
    torch.set_num_threads(1)
    saved = from_pretrained(arguments.model)
    held_out = shuffled(from_file(arguments.data, split="test").pixels)
    held_out, fresh = held_out[:num], held_out[num : 2 * num]
    sets = {
        "other held-out images": fresh,
        "training images": shuffled(from_file(arguments.data).pixels)[:num],
    }
    sets["the model's births"] = to_pixels(evolvent.draw(saved.learner, num, stages={}))
    sets |= spoilt(fresh)
    sets |= {spec: others(spec, saved.event_shape, num) for spec in arguments.others}
    measured(saved, held_out, sets)
    print(f"\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
