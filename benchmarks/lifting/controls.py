"""Pictures that tell the wrong story, for twins of stage two that differ in nothing else.

The head's pose stays the asked frame's, as the tracker and earlier registrations have it, and is registered to what is shown, within a
degree or two. That does not always reach another moment's pose: a part of what these rows lose is heads that do not lie on each other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from mango.data.pictures import PictureBatch, Pictures, Shot
from mango.seeds import numpy_generator
from mango.types import PERSONS

Elsewhere = Callable[[Shot], Shot]  # which picture is shown instead of the one asked for
SHIFT = 3  # frames: an eighth of a second


@dataclass(frozen=True)
class Misled:
    """Pictures that answer for one shot with another: matte, camera and landmarks come along, so that only the story is wrong."""

    pictures: Pictures
    elsewhere: Elsewhere

    def read(self, shots: Sequence[Shot]) -> PictureBatch:
        shown = self.pictures.read([self.elsewhere(shot) for shot in shots])
        return replace(shown, shots=tuple(shots), persons=tuple(self.pictures.persons[shot[:2]] for shot in shots))

    def pixels_per_metre(self, clip: tuple[str, str], head: Float[Tensor, "time 3"]) -> float:
        """Of the right film: a control may know how large its person is shown."""
        return self.pictures.pixels_per_metre(clip, head)


def shuffled(frames: Mapping[str, int], seed: int) -> Elsewhere:
    """Every clip's pictures in a random order, always the same one."""
    orders = {
        (id, side): numpy_generator(seed, id, side, "shuffled pictures").permutation(count)
        for id, count in frames.items()
        for side in PERSONS
    }
    return lambda shot: (*shot[:2], int(orders[shot[:2]][shot[2]]))


def shifted(frames: Mapping[str, int], seed: int) -> Elsewhere:
    """What happened three frames later; the last picture for the last frames."""
    return lambda shot: (*shot[:2], min(shot[2] + SHIFT, frames[shot[0]] - 1))


def wrong_person(frames: Mapping[str, int], seed: int) -> Elsewhere:
    """The other person of the dialogue at the same moment."""
    return lambda shot: (shot[0], PERSONS[1 - PERSONS.index(shot[1])], shot[2])


def static(frames: Mapping[str, int], seed: int) -> Elsewhere:
    """One picture for the whole clip, from its middle."""
    return lambda shot: (*shot[:2], frames[shot[0]] // 2)


CONTROLS = {"shuffled": shuffled, "shifted": shifted, "wrong_person": wrong_person, "static": static}
