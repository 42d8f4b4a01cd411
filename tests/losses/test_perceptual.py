"""LPIPS from weight files. By hand (torchvision 0.29 and lpips 0.1.4 beside a CPU torch, random classifiers): equal to the package's
to 2e-7, for both nets.

Faults planted, each seen red: colours left in [0, 1], activations not brought to length one, layers compared before their relu, two layers'
linear weights exchanged, a sum over places for the mean, a pool before the first block of vgg, files that do not fit taken as they are.
"""

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d, relu

from mango.errors import InputError
from mango.losses import perceptual
from mango.losses.perceptual import lpips

# Number of each convolution in torchvision's file: its kernel (out, in, size, stride, padding); which are compared, which pooled before.
ALEX = {0: (64, 3, 11, 4, 2), 3: (192, 64, 5, 1, 2), 6: (384, 192, 3, 1, 1), 8: (256, 384, 3, 1, 1), 10: (256, 256, 3, 1, 1)}
VGG = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256), 17: (512, 256), 19: (512, 512),
       21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)}  # fmt: skip
NETS = {
    "alex": ("alexnet-owt-7be5be79.pth", ALEX, (0, 3, 6, 8, 10), (3, 6), 3),
    "vgg": ("vgg16-397923af.pth", {number: (*widths, 3, 1, 1) for number, widths in VGG.items()}, (2, 7, 14, 21, 28), (5, 10, 17, 24), 2),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files of the right layout, with random numbers."""
    random = torch.Generator().manual_seed(0)
    for net, (file, kernels, compared, _, _) in NETS.items():
        backbone = {"classifier.1.weight": torch.zeros(1)}
        for number, (out, into, size, _, _) in kernels.items():
            backbone[f"features.{number}.weight"] = torch.randn(out, into, size, size, generator=random) / (into * size**2) ** 0.5
            backbone[f"features.{number}.bias"] = 0.1 * torch.randn(out, generator=random)
        linear = {f"lin{k}.model.1.weight": torch.rand(1, kernels[last][0], 1, 1, generator=random) for k, last in enumerate(compared)}
        torch.save(backbone, tmp_path / file)
        torch.save(linear, tmp_path / f"{net}.pth")
    monkeypatch.setenv(perceptual.FOLDER, str(tmp_path))
    perceptual._loaded.cache_clear()
    yield tmp_path
    perceptual._loaded.cache_clear()


def pictures():
    return torch.rand(2, 3, 72, 64, 3, generator=torch.Generator().manual_seed(1)).unbind()


def by_hand(x, y, net, folder):
    """One picture after another, layer by layer."""
    file, kernels, compared, pooled, window = NETS[net]
    backbone, linear = (torch.load(folder / name, weights_only=True) for name in (file, f"{net}.pth"))
    distances = []
    for pair in zip(x, y, strict=True):
        activations, distance = [], 0.0
        for picture in pair:
            shown = (2 * picture - 1 - torch.tensor([-0.030, -0.088, -0.188])) / torch.tensor([0.458, 0.448, 0.450])
            now, found = shown.permute(2, 0, 1)[None], []
            for number, (_, _, _, stride, padding) in kernels.items():
                now = max_pool2d(now, window, 2) if number in pooled else now
                now = relu(conv2d(now, backbone[f"features.{number}.weight"], backbone[f"features.{number}.bias"], stride, padding))
                if number in compared:
                    found.append(now[0] / now[0].square().sum(0).sqrt())
            activations.append(found)
        for k, (first, second) in enumerate(zip(*activations, strict=True)):
            distance += (linear[f"lin{k}.model.1.weight"][0] * (first - second) ** 2).sum(0).mean()
        distances.append(distance)
    return torch.stack(distances)


@pytest.mark.parametrize("net", NETS)
def test_it_is_the_published_distance(folder, net):
    x, y = pictures()
    torch.testing.assert_close(lpips(x, y, net=net), by_hand(x, y, net, folder))
    assert (lpips(x, x, net=net) == 0).all()


def test_batches_keep_their_shape_and_pictures_get_gradients(folder):
    x, y = pictures()
    torch.testing.assert_close(
        lpips(x[:2].unflatten(0, (2, 1)), y[:2].unflatten(0, (2, 1)), net="alex")[:, 0], lpips(x[:2], y[:2], net="alex")
    )
    learned = x[0].clone().requires_grad_()
    lpips(learned, y[0], net="alex").backward()
    assert learned.grad.abs().sum() > 0 and not any(p.requires_grad for p in perceptual._loaded("alex", x.device).parameters())


@pytest.mark.parametrize("missing", ["alexnet-owt-7be5be79.pth", "alex.pth"])
def test_a_missing_file_is_named(folder, missing, monkeypatch, tmp_path):
    (folder / missing).unlink()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "elsewhere"))
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"weight file {missing}.*MANGO_LPIPS"):
        lpips(*pictures(), net="alex")


def test_files_that_do_not_fit_are_refused(folder):
    (folder / "alex.pth").write_bytes(b"not a file of tensors")
    with pytest.raises(InputError, match=r"alex\.pth.*a file of tensors"):
        lpips(*pictures(), net="alex")
    torch.save({"lin0.model.1.weight": torch.rand(1, 128, 1, 1)}, folder / "alex.pth")
    with pytest.raises(InputError, match=r"alex\.pth.*linear\.0 of shape \(64,\).*\(128,\)"):
        lpips(*pictures(), net="alex")
    with pytest.raises(InputError, match="vgg or alex"):
        lpips(*pictures(), net="squeeze")
