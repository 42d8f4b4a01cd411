"""No tensor is forgotten on the CPU: the real scripts on a card that is only pretended (pretended_card.py says what that cannot notice).

Faults planted, each seen red: a label bank restored to where the file was read, withheld conditions and spoilt indicators left where they
were drawn; head, avatars, cameras, surface, background, lessons, validation batches, the sampler's level or the indicator not moved.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pretended_card import PretendedCard
from tiny_films import SIZE, make_filmed_set, tiny_stage2
from tiny_models import tiny_encoder
from tiny_training import ROOT, tiny_yaml, train_here

import renderer.rasterize  # noqa: F401  (the module: the package's attribute of this name is the function)
from mango.audio.encoders import EncoderConfig, make_encoder
from mango.errors import InputError
from mango.inference.avatars import load_avatar
from mango.inference.generation import GenerationConfig
from mango.inference.recordings import generate_clips
from mango.inference.rendering import person_layers
from mango.training import runtime
from mango.training.runtime import RuntimeConfig
from mango.training.stage1 import load_motion_model
from mango.training.studio import open_studio
from renderer.cameras import portrait_camera

rasterization = sys.modules["renderer.rasterize"]
sys.path.insert(0, str(ROOT))


@pytest.fixture
def card(monkeypatch):
    """Every runtime is on the card, and gsplat's place there is taken by the reference, which knows no device."""
    monkeypatch.setattr(runtime, "_device", lambda wanted: PretendedCard.device)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a pretended card")
    monkeypatch.setitem(rasterization.BACKENDS, "gsplat", rasterization.BACKENDS["reference"])
    rasterization.resolve.cache_clear()
    with PretendedCard() as pretended:
        yield pretended
    rasterization.resolve.cache_clear()


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, head) -> Path:
    return make_filmed_set(tmp_path_factory.mktemp("films"), head)


def totals(run: Path) -> list[tuple[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["group"], line["total"]) for line in lines]


MIXED = {
    "a sum": lambda on_card, on_cpu: on_card + on_cpu,
    "a sum with a number on the card": lambda on_card, on_cpu: on_cpu + on_card.sum(),
    "a choice": lambda on_card, on_cpu: torch.where(on_card > 0, on_card, on_cpu),
    "weights": lambda on_card, on_cpu: torch.nn.Linear(3, 3)(on_card),
    "joined": lambda on_card, on_cpu: torch.cat([on_card, on_cpu]),
    "joined numbers": lambda on_card, on_cpu: torch.stack([on_card.sum(), torch.tensor(1.0)]),
    "an index on the card": lambda on_card, on_cpu: on_cpu[(on_card > 0).nonzero()[:, 0]],
    "written by index": lambda on_card, on_cpu: on_card.__setitem__(torch.tensor([0, 1, 2]), on_cpu),
    "numpy": lambda on_card, on_cpu: on_card.numpy(),
    "drawn by the CPU's generator": lambda on_card, on_cpu: torch.randn(3, device=on_card.device, generator=torch.Generator()),
    "a view": lambda on_card, on_cpu: on_card.reshape(3, 1)[1:].T + on_cpu,
    "after backward": lambda on_card, on_cpu: torch.autograd.grad(on_card.requires_grad_().sum(), on_card)[0] + on_cpu,
}


@pytest.mark.parametrize("what", MIXED)
def test_the_card_refuses_what_cuda_refuses(card, what):
    with pytest.raises((RuntimeError, TypeError)):
        MIXED[what](torch.ones(3).to(card.device), torch.ones(3))


def test_the_card_allows_what_cuda_allows(card):
    on_card = torch.ones(3).to(card.device)
    assert (on_card * torch.tensor(2.0)).device == card.device, "a number from the CPU"
    assert on_card[torch.tensor([0])].device == card.device, "an index from the CPU"
    on_card[:] = torch.zeros(3)
    assert on_card.tolist() == [0, 0, 0] and (on_card.cpu() + torch.ones(3)).sum() == 3
    model = torch.nn.Linear(3, 3).to(card.device)
    model(on_card).sum().backward()
    torch.optim.AdamW(model.parameters(), fused=True).step()
    assert model.weight.grad.device == card.device


def test_stage_one_with_validation_and_resume(card, tmp_path, tiny_set):
    config = tiny_yaml(tmp_path, tiny_set)
    assert train_here(config, "--steps", "2") == 0
    assert train_here(config, "--steps", "3") == 0, "from its checkpoint"
    assert [group for group, _ in totals(tmp_path / "run")] == ["train", "train", "validation", "train", "validation"]


def test_stage_two_with_validation_and_resume(card, tmp_path, filmed, head):
    import train_stage2

    config = tiny_stage2(tmp_path, filmed, head, steps=2)
    assert train_stage2.main(config) == 0
    assert train_stage2.main(replace(config, steps=4)) == 0, "from its checkpoint"
    losses = totals(config.run)
    assert [group for group, _ in losses] == ["head", "motion", "validation", "head", "motion", "validation"]
    assert all(torch.isfinite(torch.tensor(loss)) for _, loss in losses)


def test_stage_two_begins_where_it_can_draw(monkeypatch, tmp_path, filmed, head):
    """A card and no CUDA toolkit: said at once, as any wrong input. Fault planted: found out at the first picture."""
    monkeypatch.setattr(runtime, "_device", lambda wanted: PretendedCard.device)
    monkeypatch.setattr("renderer.backends.gsplat.obstacle", lambda: "no CUDA toolkit")
    with pytest.raises(InputError, match=r"draws on cuda:0, found none: gsplat cannot run: no CUDA toolkit; .* CUDA_VISIBLE_DEVICES= "):
        open_studio(tiny_stage2(tmp_path, filmed, head), runtime.Runtime(RuntimeConfig()))


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "ddpm"])
def test_generation(card, run_folder, head, sampler):
    model, description, encoder = load_motion_model(run_folder, head=head)
    voices = torch.randn(2, 40 * 640, generator=torch.Generator().manual_seed(0))
    config = GenerationConfig(steps=2, sampler=sampler, guidance={"own": 2.0})
    identities = [torch.zeros(head.identities)] * 2
    clips = generate_clips(model, description, make_encoder(encoder), head, voices, config, identities=identities)
    assert all(clip.expr not in card and clip.expr.isfinite().all() and len(clip) == 40 for clip in clips.values())
    assert next(model.parameters()) in card


def test_speech_models_hear_on_the_card(card, tmp_path):
    """Planted and seen red: sound that stays on the CPU, features that stay on the card."""
    config = EncoderConfig(
        "hubert", tiny_encoder(tmp_path / "hubert", "hubert"), layers=(1, -1)
    )  # not wavlm: transformers hands an empty tensor on
    sound = torch.randn(40 * 640, generator=torch.Generator().manual_seed(0))
    there = make_encoder(config).to(card.device)
    features = there.encode(sound)
    assert next(there.model.parameters()) in card and features not in card
    assert torch.equal(features, make_encoder(config).encode(sound)), "the same, on a card that rounds as the CPU does"


def test_rendering(card, head, avatars):
    clip = head.layout.clip(torch.zeros(2, head.layout.width), torch.zeros(head.identities), head.digest)
    pictures = torch.stack(list(person_layers(clip, load_avatar(avatars[0], head), portrait_camera(SIZE))))
    assert pictures not in card and pictures.std() > 0
