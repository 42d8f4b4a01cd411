"""The motion model of stage one: two voices and noisy motion of both people in, clean motion of both people out.

    voices -> VoiceStem -> own ----------------------------> values per layer --------+
               both people's own -> DualAudioInteraction ---> keys, values per layer --+-> Conditions (once per window)
    noisy motion, context flag -> tokens -> DenoiserLayer x depth -> x0                   (once per noise level)

Both people are one batch with shared weights: exchange them in every input and the output is exchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mango.config import check_ranges
from mango.errors import InputError
from mango.head.layout import MotionLayout
from mango.models.attention import Rotary, visible
from mango.models.denoiser import DenoiserLayer, LayerMemory, Masks
from mango.models.interaction import DualAudioInteraction
from mango.models.layers import LevelEmbedding, Modulation, VoiceStem, modulated
from mango.models.linear import Linear
from mango.models.normalisation import Normalised


@dataclass(frozen=True)
class MotionModelConfig:
    """What kind of motion model, and its sizes; the defaults are the paper-scale model. The others are baselines."""

    kind: Literal[
        "diffusion",
        "regression",  # `mango.models.regressor`: sees the partner's motion, so it can be evaluated but not generate
    ] = "diffusion"
    hearing: Literal[
        "joint",  # both voices through the dual-audio interaction and one attention, as MANGO describes it
        "separate",  # what is heard through them, the own voice on a gated pathway of its own
        "mixed",  # "joint" without the own features added back
        "own",  # "separate", deaf to the other: the single-speaker baseline
    ] = "joint"
    width: int = 512  # of a token
    depth: int = 8  # layers of the denoiser
    heads: int = 8  # of attention
    mlp_ratio: int = 4  # hidden width of a feed-forward layer over the width
    interaction_depth: int = 2  # layers of the dual-audio transformer
    voice_kernel: int = 5  # frames per convolution of the voice stem: two of 5 see 4 frames (160 ms) to each side, where a phone shows
    heard_reach: int = 12  # frames to each side that the dual-audio pathway attends to: reactions lag by about a third of a second

    def __post_init__(self):
        positive = "[1, inf)"
        check_ranges(self, depth=positive, heads=positive, mlp_ratio=positive, interaction_depth=positive, heard_reach="[0, inf)")
        if self.width < 1 or self.width % (2 * self.heads):
            expected, remedy = f"a multiple of twice its heads ({2 * self.heads})", "choose one: positions turn pairs of a head's channels"
            raise InputError("width", expected=expected, found=str(self.width), remedy=remedy)
        if self.voice_kernel < 1 or self.voice_kernel % 2 == 0:
            remedy = "an even one would shift features against frames"
            raise InputError("voice_kernel", expected="an odd number of frames", found=str(self.voice_kernel), remedy=remedy)


@dataclass(frozen=True)
class PathwayDrop:
    """Per person: which conditions are withheld (True = withheld) and replaced by a learned null. For training and guidance."""

    own: Bool[Tensor, "batch person"]
    heard: Bool[Tensor, "batch person"]
    identity: Bool[Tensor, "batch person"]
    speaking: Bool[Tensor, "batch person"]  # this person's indicator, for both listeners

    @classmethod
    def nothing(cls, batch: int, device: torch.device | str = "cpu") -> "PathwayDrop":
        return cls(*(torch.zeros(batch, 2, dtype=torch.bool, device=device) for _ in range(4)))

    @classmethod
    def everywhere(cls, batch: int, *pathways: str, device: torch.device | str = "cpu") -> "PathwayDrop":
        """The named pathways withheld from everybody, e.g. for a guidance branch."""
        assert set(pathways) <= {"own", "heard", "identity", "speaking"}, pathways
        return cls(**{name: torch.full((batch, 2), name in pathways, device=device) for name in ("own", "heard", "identity", "speaking")})


@dataclass(frozen=True)
class Conditions:
    """Everything about the voices that the denoiser needs; independent of the noise level."""

    layers: tuple[LayerMemory, ...]
    identity_withheld: Bool[Tensor, "batch person"]
    inside: Bool[Tensor, "both time"]  # frames that have a voice to listen to

    @classmethod
    def concatenated(cls, parts: Sequence["Conditions"]) -> "Conditions":
        """Along the batch: guidance evaluates its branches in one pass."""
        layers = tuple(LayerMemory.concatenated(same) for same in zip(*(part.layers for part in parts), strict=True))
        return cls(layers, *(torch.cat([getattr(part, name) for part in parts]) for name in ("identity_withheld", "inside")))


class MotionModel(Normalised):
    """Predicts clean motion (x0) of both people, in units of the training set's standard deviation per channel.

    Construct with the head's layout and the widths of what it will be given; ``voice_width`` is that of all ``voice_layers`` together.
    ``set_statistics`` fills the normalisation.
    """

    def __init__(self, config: MotionModelConfig, layout: MotionLayout, voice_width: int, identity_width: int, voice_layers: int = 1):
        super().__init__(layout, voice_width)
        self.config, self.identity_width = config, identity_width
        width, heads = config.width, config.heads
        self.stem = VoiceStem(voice_width, width, config.voice_kernel, voice_layers)
        self.no_own, self.no_heard, self.no_identity = (nn.Parameter(torch.randn(width) * 0.02) for _ in range(3))
        self.interaction = DualAudioInteraction(
            width, heads, config.interaction_depth, config.mlp_ratio, residual=config.hearing != "mixed"
        )
        self.tokens = Linear(layout.width + 1, width)  # + the context flag
        self.level = LevelEmbedding(width)
        self.identity = nn.Linear(identity_width, width)
        self.style = nn.Identity()  # where adapters add who moves (`mango.models.adapters`)
        separate = config.hearing in ("separate", "own")
        self.layers = nn.ModuleList(DenoiserLayer(width, heads, config.mlp_ratio, separate=separate) for _ in range(config.depth))
        self.last_modulation = Modulation(width, ("shift", "scale"))
        self.out = Linear(width, layout.width)
        nn.init.zeros_(self.out.weight)  # an untrained model predicts the training set's mean pose
        nn.init.zeros_(self.out.bias)

    # Once per window -------------------------------------------------------------------------------------------------------

    def listen(
        self,
        voices: Float[Tensor, "batch person time features"],
        speaking: Float[Tensor, "batch person time"],
        inside: Bool[Tensor, "batch person time"],
        drop: PathwayDrop | None = None,
    ) -> Conditions:
        """What each person hears of both voices. ``voices`` are the encoder's features, one row a frame. Frames that are not
        ``inside`` the dialogue are not heard; a person whose face nobody tracked is heard like any other.
        """
        drop = drop or PathwayDrop.nothing(voices.shape[0], voices.device)
        if self.config.hearing == "own":
            drop = replace(drop, heard=torch.ones_like(drop.heard))
        every = inside.flatten(0, 1)
        features = self.stem(self.normalised_voices(voices).flatten(0, 1), every)  # of each person's own voice, whoever listens
        own = torch.where(drop.own.flatten()[:, None, None], self.no_own, features)
        heard = torch.where(drop.heard.flatten()[:, None, None], self.no_heard, of_partner(features))
        indicator = self.interaction.indicator(speaking.flatten(0, 1), drop.speaking.flatten())
        others, inside_others = of_partner(indicator), of_partner(every)
        if self.config.hearing == "own":
            others, inside_others = self.interaction.speaking_unknown.expand_as(indicator), every
        rotary = self._rotary(features)
        dual = self.interaction(own, heard, indicator, others, every, inside_others, rotary)
        return Conditions(tuple(layer.memory(own, dual, rotary) for layer in self.layers), drop.identity, every)

    # Once per noise level --------------------------------------------------------------------------------------------------

    def forward(
        self,
        noisy: Float[Tensor, "batch person time width"],
        level: Int[Tensor, "batch"],
        conditions: Conditions,
        identity: Float[Tensor, "batch person identity"],
        keep: Bool[Tensor, "batch person time"],
        given: Bool[Tensor, "batch person time"] | None = None,
    ) -> Float[Tensor, "batch person time width"]:
        """Clean motion in normalised units from ``noisy`` at a noise level (0 = clean, a diffusers timestep).

        Frames marked ``given`` hold clean motion already (the context of a window); the prediction there has no meaning.
        Nor has it where ``keep`` is False.
        """
        given = torch.zeros_like(keep) if given is None else given
        every = keep.flatten(0, 1)
        masks = Masks(visible(every), visible(conditions.inside, self.config.heard_reach))
        motion = self.tokens(torch.cat([noisy, given[..., None].to(noisy.dtype)], dim=-1).flatten(0, 1))
        rotary = self._rotary(motion)
        condition = self._condition(level, identity, conditions.identity_withheld)
        for layer, memory in zip(self.layers, conditions.layers, strict=True):
            motion = layer(motion, memory, condition, masks, rotary)
        last = self.last_modulation(condition)
        return self.out(modulated(motion, last["shift"], last["scale"])).unflatten(0, keep.shape[:2])

    def _condition(
        self, level: Int[Tensor, "batch"], identity: Float[Tensor, "batch person identity"], withheld: Bool[Tensor, "batch person"]
    ) -> Float[Tensor, "both width"]:
        person = torch.where(withheld[..., None], self.no_identity, self.identity(identity))
        return (self.level(level)[:, None] + self.style(person)).flatten(0, 1)

    def _rotary(self, tokens: Float[Tensor, "batch time width"]) -> Rotary:
        return Rotary.of_frames(tokens.shape[1], self.config.width // self.config.heads, tokens)


def of_partner(each: Float[Tensor, "both *rest"] | Bool[Tensor, "both *rest"]) -> Tensor:
    """The other person's row, where batch and person are folded into one axis."""
    return each.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
