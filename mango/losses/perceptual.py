"""LPIPS (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018): a distance between pictures.

    distance = sum over layers of  mean over places of  sum over channels of  linear . (x / |x| - y / |y|)^2

x and y are a classifier's activations of both pictures, each place of length one. We ship no weights: the classifier's are those that
torchvision offers (its file names), the linear ones those of the package `lpips`, version 0.1, which need not be importable: a torchvision
of another build than torch takes it along. With the same files the numbers are the package's.
"""

import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mango.errors import InputError

FOLDER = "MANGO_LPIPS"  # environment variable: a folder with the files, if they are not where their packages put them
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet's colours in [-1, 1], as the package has them


@dataclass(frozen=True)
class Network:
    """A classifier's convolutions and which of its activations are compared."""

    file: str  # of torchvision
    layers: tuple[nn.Module | int, ...]  # an int: this activation is compared, it has that many channels
    linear: str  # file in the package lpips


def _vgg() -> Network:
    layers: list[nn.Module | int] = []
    before = 3
    for number, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        layers += [nn.MaxPool2d(2)] if number else []
        for _ in range(depth):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(width)
    return Network("vgg16-397923af.pth", tuple(layers), "vgg.pth")


def _alex() -> Network:
    layers = (
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), 64,
        nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), 192,
        nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), 384,
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), 256,
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), 256,
    )  # fmt: skip
    return Network("alexnet-owt-7be5be79.pth", layers, "alex.pth")


NETWORKS = {"vgg": _vgg, "alex": _alex}


class Lpips(nn.Module):
    """The distance, with weights still to be loaded."""

    def __init__(self, network: Network):
        super().__init__()
        self.features = nn.Sequential(*(layer for layer in network.layers if isinstance(layer, nn.Module)))
        self.compared: dict[int, int] = {}  # after how many layers -> which comparison
        done = 0
        for layer in network.layers:
            if isinstance(layer, int):
                self.compared[done] = len(self.compared)
            else:
                done += 1
        widths = [layer for layer in network.layers if isinstance(layer, int)]
        self.linear = nn.ParameterList(torch.zeros(width) for width in widths)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    def forward(self, x: Float[Tensor, "pictures 3 rows cols"], y: Float[Tensor, "pictures 3 rows cols"]) -> Float[Tensor, "pictures"]:
        """Colours in [0, 1]."""
        both = (2 * torch.cat([x, y]) - 1 - self.shift) / self.scale
        distance = x.new_zeros(len(x))
        for done, layer in enumerate(self.features, start=1):
            both = layer(both)
            if done in self.compared:
                first, second = normalize(both, dim=1, eps=1e-10).chunk(2)
                weight = self.linear[self.compared[done]][:, None, None]
                distance = distance + (weight * (first - second).square()).sum(1).mean((1, 2))
        return distance


def lpips(
    prediction: Float[Tensor, "*batch rows cols 3"], truth: Float[Tensor, "*batch rows cols 3"], net: str = "vgg"
) -> Float[Tensor, "*batch"]:
    """Learned perceptual distance, one number a picture; lower is better. Differentiable. Colours in [0, 1].

    ``net`` is "vgg" (what avatar papers evaluate with) or "alex"; a number without its net means nothing, so name it in tables.
    Errors: InputError naming the weight file that is missing or does not fit.
    """
    if net not in NETWORKS:
        raise InputError("LPIPS", expected=f"net {' or '.join(NETWORKS)}", found=repr(net), remedy="choose one of them")
    batch = prediction.shape[:-3]
    pictures = [picture.reshape(-1, *picture.shape[-3:]).movedim(-1, 1) for picture in (prediction, truth)]
    return _loaded(net, prediction.device)(*pictures).reshape(batch)


@lru_cache(maxsize=2)
def _loaded(net: str, device: torch.device) -> Lpips:
    network = NETWORKS[net]()
    model = Lpips(network)
    backbone, linear = backbone_file(network), linear_file(network)
    read = {f"features.{name}": value for name, value in _tensors(backbone, "features.").items()}
    heads = _tensors(linear, "lin")
    read |= {f"linear.{name.split('.')[0]}": value.flatten() for name, value in heads.items()}
    wanted = model.state_dict()
    for name, value in wanted.items():
        file = backbone if name.startswith("features") else linear
        if name not in read or read[name].shape != value.shape:
            found = "none" if name not in read else f"shape {tuple(read[name].shape)}"
            remedy = "give the file of that name that torchvision or the package lpips (version 0.1) offers"
            raise InputError(file, expected=f"{name} of shape {tuple(value.shape)}", found=found, remedy=remedy)
    model.load_state_dict({name: read[name] for name in wanted})
    return model.eval().requires_grad_(False).to(device)


def backbone_file(network: Network) -> Path:
    """Where the classifier's weights lie: in $MANGO_LPIPS, or where torchvision keeps what it has fetched."""
    return _first(network.file, [_given(), Path(torch.hub.get_dir()) / "checkpoints"], "fetch it from https://download.pytorch.org/models/")


def linear_file(network: Network) -> Path:
    """Where the linear weights lie: in $MANGO_LPIPS, or in the installed package."""
    spec = importlib.util.find_spec("lpips")
    package = [Path(place) / "weights" / "v0.1" for place in spec.submodule_search_locations or ()] if spec else []
    return _first(network.linear, [_given(), *package], "pip install --no-deps lpips")


def _given() -> Path | None:
    return Path(os.environ[FOLDER]) if FOLDER in os.environ else None


def _first(name: str, folders: list[Path | None], source: str) -> Path:
    looked = [folder / name for folder in folders if folder]
    for path in looked:
        if path.is_file():
            return path
    found = f"none at {', '.join(map(str, looked))}" if looked else f"no package lpips, and {FOLDER} is not set"
    remedy = f"{source}, or put it into a folder and set {FOLDER} to that; or set the LPIPS weight to 0"
    raise InputError("LPIPS", expected=f"the weight file {name}", found=found, remedy=remedy)


def _tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    """Of a file of tensors, those below ``prefix``, without it."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name.removeprefix(prefix): value.float() for name, value in state.items() if name.startswith(prefix)}
    except Exception as error:  # torch.load fails in many ways
        found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise InputError(path, expected="a file of tensors", found=found, remedy="fetch it again") from error
