"""What a trained model does when its inputs are changed: the other muted, tracks exchanged, phonemes taken away, indicators wrong.

Motion is the model's own output: nothing switches it by voice activity afterwards. Millimetres are of vertices without head pose.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from mango.audio.activity import speaking_indicator
from mango.audio.alignment import frame_count, sample_count
from mango.audio.encoders import Encoder, make_encoder
from mango.audio.loudness import HOP
from mango.audio.reading import read_audio
from mango.data.dialogues import DialogueSet
from mango.data.synthetic.synthesize import SynthesisConfig, motion_in, plans, talk
from mango.data.truth import Truth
from mango.evaluation.lips_and_eyes import closures
from mango.evaluation.protocol import ClipScores, Reference
from mango.evaluation.synchrony import own_minus_partner, speech_energy
from mango.evaluation.vertex_metrics import unposed_vertices
from mango.head.model import Head, load_head
from mango.inference.generation import GenerationConfig
from mango.inference.recordings import generate_clips
from mango.seeds import torch_generator
from mango.training.stage1 import MotionDescription, load_motion_model
from mango.types import PERSONS, Dialogue, MotionClip

NOT_TOLD = {"speaking": 0.0}  # guidance that withholds the speaking indicator
AT_REST_MM = 1.5
FLIPS = (0.0, 0.1, 0.2, 0.3)
Voices = Float[Tensor, "person samples"]


@dataclass(frozen=True)
class Talker:
    """A trained model, ready to be asked again and again with the same noise."""

    model: torch.nn.Module
    description: MotionDescription
    encoder: Encoder
    head: Head
    config: GenerationConfig

    @staticmethod
    def of(run: Path, config: GenerationConfig = GenerationConfig()) -> "Talker":
        head = load_head()
        model, description, encoder = load_motion_model(run, head=head)
        return Talker(model, description, make_encoder(encoder), head, config)

    def __call__(self, voices: Voices, speaking: Float[Tensor, "person time"] | None = None, *, told: bool = True) -> dict[str, MotionClip]:
        """Without ``speaking`` the built-in detector says who speaks; not ``told``, nobody does."""
        config = self.config if told else replace(self.config, guidance=NOT_TOLD)
        return generate_clips(self.model, self.description, self.encoder, self.head, voices, config, speaking=speaking)

    def vertices(self, clip: MotionClip) -> Float[Tensor, "time verts 3"]:
        return unposed_vertices(self.head, clip)


# On held-out synthetic dialogues ------------------------------------------------------------------------------------------------


def muted_partner(talker: Talker, dialogues: Sequence[Dialogue]) -> dict[str, float]:
    """How much person a's motion changes when b is silent (see `change`)."""
    changes = []
    for dialogue in dialogues:
        voices, speaking = both(dialogue)
        told = torch.stack([speaking[0], torch.zeros_like(speaking[1])])
        clips = [talker(*inputs)["a"] for inputs in ((voices, speaking), (voices * torch.tensor([[1.0], [0.0]]), told))]
        changes.append(change(talker, *clips, speaking))
    return _means(changes)


def muted_partner_in_truth(talker: Talker, data: Path, config: SynthesisConfig) -> dict[str, float]:
    """The same of the true people: what they would have done, had b said nothing."""
    changes = []
    for plan in plans(config):
        if plan.id.startswith("test"):
            said = talk(config, plan)
            clips = [motion_in(data, config, plan, talker.head, said, "a", partner=partner) for partner in (None, said.speech["b"].muted())]
            changes.append(change(talker, *clips, torch.stack([said.speech[side].speaking for side in PERSONS])))
    return _means(changes)


def change(talker: Talker, before: MotionClip, after: MotionClip, speaking: Float[Tensor, "person time"]) -> dict[str, float]:
    """Between two motions of a, as a share of how much it moves: lips while a speaks, the head while only b does."""
    lips, own, others = talker.head.region("lips"), speaking[0] > 0.5, (speaking[1] > 0.5) & ~(speaking[0] > 0.5)
    vertices = [talker.vertices(clip) for clip in (before, after)]
    return {
        "lip_opening_while_speaking": _changed(*(talker.head.lip_opening(each)[own][:, None] for each in vertices)),
        "lips_while_speaking": _changed(*(each[own][:, lips].flatten(1) for each in vertices)),
        "head_while_listening": _changed(*(clip.neck_pose[others] for clip in (before, after))),
    }


def exchanged_tracks(talker: Talker, dialogues: Sequence[Dialogue], *, told: bool) -> dict[str, float]:
    """Own-minus-partner correlation of the mouth with speech energy, as recorded and with both tracks exchanged."""
    return {
        name: _mean([sync for dialogue in dialogues for sync in mouth_syncs(talker, order(both(dialogue)[0]), told=told)])
        for name, order in (("as_recorded", lambda voices: voices), ("exchanged", lambda voices: voices.flip(0)))
    }


def mouth_syncs(talker: Talker, voices: Voices, *, told: bool) -> list[float]:
    clips, energy = talker(voices, told=told), [speech_energy(voice) for voice in voices]
    openings = [talker.head.lip_opening(talker.vertices(clips[person])) for person in PERSONS]
    return [own_minus_partner(opening, own=energy[k], partner=energy[1 - k]) for k, opening in enumerate(openings)]


def same_envelope(talker: Talker, dialogues: Sequence[Dialogue], truth: Truth) -> dict[str, float]:
    """Person a's voice against noise of the same energy in every 10 ms: phonemes gone, loudness kept.

    lips: how much they change, as a share of how much they move; closure rates on p, b, m of the voice, with voice and with noise.
    """
    changed, closed, bilabials = [], {"voice": 0, "noise": 0}, 0
    for dialogue in dialogues:
        voices, speaking = both(dialogue)
        noise = torch.stack([noise_like(voices[0], seed=dialogue.id), voices[1]])
        rest = float(talker.head.lip_opening(talker.head.template))
        shapes, own = {}, speaking[0] > 0.5
        for name, heard in (("voice", voices), ("noise", noise)):
            vertices = talker.vertices(talker(heard, speaking)["a"])
            found = closures(talker.head.lip_opening(vertices), truth.phones(dialogue.id, "a"), rest=rest)
            closed[name] += found.closed
            shapes[name] = vertices[:, talker.head.region("lips")][own].flatten(1)
        bilabials += found.bilabials
        changed.append(_changed(shapes["voice"], shapes["noise"]))
    rates = {f"closure_rate_{name}": count / max(1, bilabials) for name, count in closed.items()}
    return {"lips": _mean(changed), **rates, "bilabials": float(bilabials)}


def noise_like(voice: Float[Tensor, "samples"], seed: str) -> Float[Tensor, "samples"]:
    """White noise whose energy follows the voice's, 10 ms hop by hop, without steps."""
    hops = torch.nn.functional.pad(voice, (0, -len(voice) % HOP)).reshape(-1, HOP).square().mean(1).sqrt()
    level = interpolate(hops[None, None], scale_factor=HOP, mode="linear")[0, 0, : len(voice)]
    return (level * torch.randn(len(voice), generator=torch_generator(seed, "noise"))).clamp(-1, 1)


def wrong_indicator(talker: Talker, dialogues: Sequence[Dialogue], truth: Truth) -> dict[str, dict[str, float]]:
    """Measures against the truth with a share of the indicator's frames wrong, in runs of five, and with the indicator withheld."""
    scores = {f"{100 * share:.0f} % wrong": _scored(talker, dialogues, truth, lambda s, id, k=share: flipped(s, k, id)) for share in FLIPS}
    return scores | {"withheld": _scored(talker, dialogues, truth, None)}


def flipped(speaking: Float[Tensor, "person time"], share: float, seed: str) -> Float[Tensor, "person time"]:
    runs = torch.rand(2, speaking.shape[1] // 5 + 1, generator=torch_generator(seed, "flips")) < share
    wrong = runs.repeat_interleave(5, dim=1)[:, : speaking.shape[1]]
    return torch.where(wrong, 1 - speaking, speaking)


def _scored(talker: Talker, dialogues: Sequence[Dialogue], truth: Truth, spoilt: Callable | None) -> dict[str, float]:
    kept = ClipScores()
    for dialogue in dialogues:
        voices, speaking = both(dialogue)
        clips = talker(voices, speaking, told=False) if spoilt is None else talker(voices, spoilt(speaking, dialogue.id))
        for person in PERSONS:
            kept.add(clips[person], Reference.read(truth, dialogue.id, person, talker.head), talker.head)
    row = kept.row()
    return {name: row[name] for name in ("lve_max", "lve_max_speaking", "lve_max_listening", "closure", "lip_opening_slope")}


# On real exchanges ------------------------------------------------------------------------------------------------------------------


def real_exchanges(talker: Talker, recordings: Sequence[tuple[Path, Path]], *, told: bool) -> dict[str, float]:
    """Of both people of every recording, as recorded and with the tracks exchanged.

    mouth_sync: own-minus-partner correlation of mouth opening with speech energy. at_rest: share of frames in which only the other
    speaks (built-in detector) with the lips within 1.5 mm of rest.
    """
    syncs, swapped, resting, frames = [], [], 0, 0
    for files in recordings:
        voices = _equally_long([read_audio(file) for file in files])
        syncs += mouth_syncs(talker, voices, told=told)
        swapped += mouth_syncs(talker, voices.flip(0), told=told)
        speaking = torch.stack([speaking_indicator(voice) for voice in voices]) > 0.5
        clips, rest = talker(voices, told=told), float(talker.head.lip_opening(talker.head.template))
        for k, person in enumerate(PERSONS):
            opening = talker.head.lip_opening(talker.vertices(clips[person]))
            only_the_other = speaking[1 - k] & ~speaking[k]
            resting += int(((opening - rest).abs() * 1000 < AT_REST_MM)[only_the_other].sum())
            frames += int(only_the_other.sum())
    return {
        "mouth_sync": _mean(syncs),
        "mouth_sync_exchanged": _mean(swapped),
        "at_rest": resting / max(1, frames),
        "frames": float(frames),
    }


def real_recordings(samples: Path) -> list[tuple[Path, Path]]:
    folder = samples / "anytalker_dyadic_audio"
    return [(left, left.with_name(left.name.replace("left", "right"))) for left in sorted(folder.glob("*_left.wav"))]


def both(dialogue: Dialogue) -> tuple[Voices, Float[Tensor, "person time"]]:
    sides = [dialogue.side(person) for person in PERSONS]
    return torch.stack([side.audio for side in sides]), torch.stack([side.speaking for side in sides])


def held_out(data: Path) -> list[Dialogue]:
    found = DialogueSet.open(data)
    return [found.dialogue(id) for id in found.split("test")]


def _equally_long(voices: Sequence[Float[Tensor, "_"]]) -> Voices:
    length = sample_count(frame_count(min(len(voice) for voice in voices)))
    return torch.stack([voice[:length] for voice in voices])


def _changed(before: Float[Tensor, "time values"], after: Float[Tensor, "time values"]) -> float:
    """Root mean square of the change over that of the motion about its mean."""
    return float(((after - before).square().sum() / (before - before.mean(0)).square().sum()).sqrt()) if len(before) > 1 else float("nan")


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: _mean([one[name] for one in each]) for name in each[0]}


def _mean(values: Sequence[float]) -> float:
    numbers = torch.tensor(values, dtype=torch.float64)
    return float(numbers.nanmean())
