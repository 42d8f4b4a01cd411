"""What benchmarks.motion says of a model's behaviour, on models whose behaviour is known.

Faults these tests notice, each planted once: the own voice muted instead of the partner's; a person's own energy taken for the partner's;
exchanged tracks not exchanged; envelopes that differ; flips of another share; rest measured while nobody or the person itself speaks;
a verdict turned round; an interval that ignores how few seeds there are.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from benchmarks.motion import behaviour, report
from mango.audio.activity import speaking_indicator
from mango.audio.loudness import HOP
from mango.evaluation.synchrony import speech_energy
from mango.head.model import load_head
from mango.types import PERSONS, Dialogue, MotionClip, Side

SECONDS, RATE = 8, 16_000


@dataclass(frozen=True)
class Puppet:
    """A head whose mouth follows one voice's energy and whose neck follows another's: +1 the own, -1 the partner's."""

    head: object
    mouth: int = 1
    neck: int = -1
    leak: float = 0.0  # of the partner's voice into the mouth

    def __call__(self, voices, speaking=None, *, told=True) -> dict[str, MotionClip]:
        energy = torch.stack([speech_energy(voice) for voice in voices]).float()
        clips = {}
        for k, person in enumerate(PERSONS):
            heard = {1: energy[k], -1: energy[1 - k]}
            flat = torch.zeros(energy.shape[1], self.head.layout.width)
            flat[:, self.head.layout.where("jaw_pose").start] = heard[self.mouth] + self.leak * heard[-self.mouth]
            flat[:, self.head.layout.where("neck_pose").start] = heard[self.neck]
            clips[person] = self.head.layout.clip(flat, torch.zeros(self.head.identities), self.head.digest)
        return clips

    def vertices(self, clip):
        from mango.evaluation.vertex_metrics import unposed_vertices

        return unposed_vertices(self.head, clip)


@pytest.fixture(scope="module")
def puppet() -> Puppet:
    return Puppet(load_head())


@pytest.fixture(scope="module")
def dialogue() -> Dialogue:
    """They take turns of a second; b is silent for the last two."""
    turn = (torch.arange(SECONDS * RATE) // RATE) % 2
    loud = torch.stack([turn == 0, (turn == 1) & (torch.arange(SECONDS * RATE) < (SECONDS - 2) * RATE)])
    hops = torch.rand(2, SECONDS * RATE // HOP, generator=torch.Generator().manual_seed(1)).repeat_interleave(HOP, 1)
    audio = 0.3 * torch.randn(2, SECONDS * RATE, generator=torch.Generator().manual_seed(0)).clamp(-3, 3) * hops * loud
    return Dialogue("d", SECONDS * 25, {p: Side(p, audio[k], speaking_indicator(audio[k])) for k, p in enumerate(PERSONS)})


def test_a_muted_partner_changes_only_what_follows_the_partner(puppet, dialogue):
    found = behaviour.muted_partner(puppet, [dialogue])
    assert found["lips_while_speaking"] == 0 and found["lip_opening_while_speaking"] == 0 and found["head_while_listening"] > 0.9
    found = behaviour.muted_partner(replace(puppet, mouth=-1, neck=1), [dialogue])
    assert not found["head_while_listening"] > 0, "it follows what is not muted; while only b speaks it does not move at all"


def test_mouths_follow_tracks_when_they_are_exchanged(puppet, dialogue):
    found = behaviour.exchanged_tracks(puppet, [dialogue], told=True)
    assert all(value > 0.9 for value in found.values())
    wrong = behaviour.exchanged_tracks(replace(puppet, mouth=-1), [dialogue], told=True)
    assert all(value < -0.9 for value in wrong.values())
    heard = []

    def listening(voices, speaking=None, *, told=True):
        heard.append(voices)
        return puppet(voices)

    behaviour.exchanged_tracks(_Asked(puppet, listening), [dialogue], told=True)
    assert torch.equal(heard[1], heard[0].flip(0))


@dataclass(frozen=True)
class _Asked:
    puppet: Puppet
    answer: object

    def __call__(self, *words, **named):
        return self.answer(*words, **named)

    def __getattr__(self, name):
        return getattr(self.puppet, name)


def test_noise_has_the_voice_s_envelope_and_nothing_else_of_it():
    voice = 0.3 * torch.sin(torch.arange(4 * RATE) * 0.3) * (1 + torch.sin(torch.arange(4 * RATE) / 3000)) / 2
    noise = behaviour.noise_like(voice, "d")
    levels = [sound.reshape(-1, HOP * 4).square().mean(1).sqrt() for sound in (voice, noise)]
    assert np.corrcoef(*(level.numpy() for level in levels))[0, 1] > 0.97
    assert abs(float(levels[1].mean() / levels[0].mean()) - 1) < 0.05
    spectra = [torch.fft.rfft(sound).abs() for sound in (voice, noise)]
    assert float(spectra[0].max() / spectra[0].mean()) > 5 * float(spectra[1].max() / spectra[1].mean())


def test_flips_come_in_runs_and_in_the_share_asked_for():
    wrong = behaviour.flipped(torch.zeros(2, 10_000), 0.2, "d")
    assert abs(float(wrong.mean()) - 0.2) < 4 * (0.2 * 0.8 / 4000) ** 0.5
    assert int(wrong.diff(dim=1).abs().sum()) < 0.2 * 2 * 20_000 / 3, "runs, not single frames"


def test_rest_is_measured_while_only_the_other_speaks(puppet, dialogue, tmp_path):
    """A mouth that is open by 1.5 mm and more whenever its owner speaks, and shut otherwise, rests; one that follows the other does not."""
    from mango.audio.reading import write_audio

    files = tuple(tmp_path / f"{person}.wav" for person in PERSONS)
    for file, person in zip(files, PERSONS, strict=True):
        write_audio(file, dialogue.side(person).audio)
    right = behaviour.real_exchanges(puppet, [files], told=True)
    assert right["at_rest"] > 0.97 and right["mouth_sync"] > 0.9 and right["mouth_sync_exchanged"] > 0.9
    assert right["frames"] == sum(
        int(((speaking_indicator(dialogue.side(b).audio) > 0.5) & (speaking_indicator(dialogue.side(a).audio) < 0.5)).sum())
        for a, b in (PERSONS, PERSONS[::-1])
    )
    wrong = behaviour.real_exchanges(replace(puppet, mouth=-1), [files], told=True)
    assert wrong["at_rest"] < 0.5 and wrong["mouth_sync"] < -0.9


def judged(lips: float, listening: float, muted: float) -> dict:
    """Scores of one seed: ours, and a single speaker whose lips have an error of 2 mm and whose listening a distance of 1."""

    def row(lips: float, listening: float, nods: float) -> dict:
        parts = {"exp": listening, "pose": listening}
        flat = {"nod_sync": nods, "nod_sync_truth": 0.5}
        listened = {"L_FD": parts, "L_FD_pooled": parts}
        return {"metrics": {"LVE_max": {"speaking": lips}} | listened | {name: {"all": value} for name, value in flat.items()}}

    rows = {
        "joint": row(lips, listening, 0.4),
        "own": row(2.0, 1.0, 0.1),
        **{name: row(4.0, 4.0, 0.0) for name in (*report.UNTRAINED, report.STILL)},
    }
    behaviours = {
        "muted_partner": {"lip_opening_while_speaking": muted, "lips_while_speaking": 0.01, "head_while_listening": 0.3},
        "exchanged": {name: {"as_recorded": 1.0, "exchanged": 0.9} for name in ("told", "not_told")},
        "real": {name: {"mouth_sync": 0.8, "mouth_sync_exchanged": 0.2, "at_rest": 0.95, "frames": 10.0} for name in ("told", "not_told")},
    }
    return {"scores": {"rows": rows}, "weights": {"joint": 2_000_000, "own": 2_000_000}, "behaviour": behaviours}


def verdict_of(lines: list[str], told: str) -> str:
    (line,) = [line for line in lines if told in line]
    return line.rsplit("**")[1]


def test_verdicts_say_what_was_reached():
    speeds = {"encoding, log-mel": 0.1, "generating, log-mel, guidance off": 0.45}
    good = report.verdicts([judged(2.05, 0.9, 0.04)] * 2, ["joint", "own"], speeds)
    assert {
        verdict_of(good, told)
        for told in ("L_FD exp", "L_FD_pooled exp", "nod_sync", "speaking LVE", "listening heads", "opening of speaking lips", "real-time")
    } == {"reached"}
    assert verdict_of(good, "real exchanges, indicator told: the same") == "NOT REACHED", "the worse of both orders counts"
    bad = report.verdicts([judged(2.1, 1.1, 0.06)] * 2, ["joint", "own"], {**speeds, "encoding, log-mel": 0.2})
    assert {verdict_of(bad, told) for told in ("L_FD_pooled exp", "speaking LVE", "opening of speaking lips", "real-time")} == {
        "NOT REACHED"
    }


def test_what_was_not_measured_is_said():
    """Seen red: verdicts without recordings, or without the single speaker, vanished; a mean over two of three seeds was one of three."""
    seeds = [judged(2.05, 0.9, 0.04) for _ in range(3)]
    everything = report.verdicts(seeds, ["joint", "own"], {})
    for seed in seeds:
        del seed["behaviour"]["real"], seed["scores"]["rows"]["own"]
    seeds[1]["behaviour"]["muted_partner"]["lips_while_speaking"] = None
    lines = report.verdicts(seeds, ["joint"], {})
    assert len(lines) == len(everything)
    for told in ("real exchanges, indicator told: the same", "L_FD exp", "nod_sync", "speaking lips, all", "real-time"):
        assert verdict_of(lines, told) == "not measured"
    assert verdict_of(lines, "listening heads") == "reached"
    assert report._cell([1.0, float("nan"), 3.0], 2) == "2.00 [1.00, 3.00], 2 of 3 seeds"


def test_an_interval_knows_how_few_seeds_there_are():
    """Against scipy's t test."""
    differences = [0.3, 0.5, 0.1]
    low, mean, high = report.paired(differences)
    expected = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (low, mean, high) == pytest.approx((expected.low, 0.3, expected.high), abs=1e-3)


def test_the_table_names_its_rows():
    text = report.markdown([judged(2.05, 0.9, 0.04)] * 2, ["joint", "own"], {"encoding, log-mel": 0.1}, [1, 2], "ci")
    assert "MANGO: one attention" in text and "single speaker" in text
