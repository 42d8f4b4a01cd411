"""Recorded pictures by (dialogue, person, frame), ready to be compared with renderings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.dialogues import DialogueSet
from mango.data.foreground import over_background
from mango.data.video import VideoFrames
from mango.errors import InputError
from mango.types import PersonTrack

Shot = tuple[str, str, int]  # dialogue, side ("a" or "b"), frame


@dataclass(frozen=True)
class PictureBatch:
    """Pictures over one background, with the tracker's cameras."""

    shots: tuple[Shot, ...]
    persons: tuple[str, ...]
    colors: Float[Tensor, "pictures rows cols 3"]  # [0, 1], what is not the person replaced by the background
    mattes: Float[Tensor, "pictures rows cols 1"]  # [0, 1]
    camera_from_world: Float[Tensor, "pictures 4 4"]
    intrinsics: Float[Tensor, "pictures 3 3"]
    landmarks: Float[Tensor, "pictures 68 2"]  # the tracker's, pixels

    @property
    def clips(self) -> list[str]:
        return [f"{dialogue}/{side}" for dialogue, side, _ in self.shots]

    @property
    def size(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.colors.shape[1], self.colors.shape[2]

    def to(self, device: torch.device) -> "PictureBatch":
        names = ("colors", "mattes", "camera_from_world", "intrinsics", "landmarks")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    def __getitem__(self, chosen: Sequence[int]) -> "PictureBatch":
        """Some of the pictures, in the order given."""
        names = ("colors", "mattes", "camera_from_world", "intrinsics", "landmarks")
        texts = {name: tuple(getattr(self, name)[picture] for picture in chosen) for name in ("shots", "persons")}
        return replace(self, **texts, **{name: getattr(self, name)[list(chosen)] for name in names})

    def shrunk(self, times: int) -> "PictureBatch":
        """Each pixel the mean of ``times`` x ``times``; cameras and landmarks to match. What is left over at the right and below goes."""
        if times == 1:
            return self
        intrinsics = self.intrinsics.clone()
        intrinsics[:, :2] /= times  # the origin is the corner of the first pixel, so nothing shifts
        rows, cols = (extent - extent % times for extent in self.size)
        corners = [(slice(row, rows, times), slice(col, cols, times)) for row in range(times) for col in range(times)]
        colors, mattes = (sum(planes[:, down, across] for down, across in corners) / times**2 for planes in (self.colors, self.mattes))
        return replace(self, colors=colors, mattes=mattes, intrinsics=intrinsics, landmarks=self.landmarks / times)


class Pictures:
    """The pictures of some clips, given as (dialogue, side). Each must have video and a track."""

    def __init__(self, dialogues: DialogueSet, clips: Iterable[tuple[str, str]], background: Float[Tensor, "3"]):
        self.background = background
        self.videos: dict[tuple[str, str], tuple[VideoFrames, VideoFrames | None]] = {}
        self.tracks: dict[tuple[str, str], PersonTrack] = {}
        self.persons: dict[tuple[str, str], str] = {}
        unseen = []
        for (id, name), side in dialogues.sides(clips):
            if side.video is None or side.track is None:
                unseen.append(f"{id}/{name}.{'mp4' if side.video is None else 'track.npz'}")
                continue
            self.videos[id, name] = VideoFrames(side.video), side.mask_video and VideoFrames(side.mask_video)
            self.tracks[id, name] = side.track
            self.persons[id, name] = side.person
        _refuse_unseen(dialogues, unseen, of=len(unseen) + len(self.videos))
        self._check_sizes()

    def read(self, shots: Sequence[Shot]) -> PictureBatch:
        """The pictures of ``shots``, in their order. Shots of one clip should stand together: they are decoded in one go."""
        rows, cols = next(iter(self.videos.values()))[0].size
        colors, mattes = torch.empty(len(shots), rows, cols, 3), torch.ones(len(shots), rows, cols, 1)
        done = 0
        for (dialogue, side), group in groupby(shots, key=lambda shot: shot[:2]):
            video, mask = self.videos[dialogue, side]
            frames = [frame for _, _, frame in group]
            picture, matte = (whole[done : done + len(frames)] for whole in (colors, mattes))
            picture.copy_(video.frames(frames)).div_(255)
            if mask:
                matte.copy_(mask.mattes(frames)[..., None]).div_(255)
                picture.copy_(over_background(picture, matte, self.background))
            done += len(frames)
        cameras = [self._camera(shot) for shot in shots]
        return PictureBatch(
            shots=tuple(shots),
            persons=tuple(self.persons[shot[:2]] for shot in shots),
            colors=colors,
            mattes=mattes,
            camera_from_world=torch.stack([camera for camera, _ in cameras]),
            intrinsics=torch.stack([intrinsics for _, intrinsics in cameras]),
            landmarks=torch.stack([self.tracks[shot[:2]].landmarks[shot[2]] for shot in shots]),
        )

    def pixels_per_metre(self, clip: tuple[str, str], head: Float[Tensor, "time 3"]) -> float:
        """How finely the clip shows a head that is at these places in the world: the median of its frames."""
        track = self.tracks[clip]
        depth = (track.camera_from_world[:, 2, :3] * head.to(track.camera_from_world)).sum(-1) + track.camera_from_world[:, 2, 3]
        return float((track.intrinsics[0, 0] / depth).median())

    def _check_sizes(self) -> None:
        """Pictures of a step are drawn and compared together."""
        by_size: dict[tuple[int, int], list[str]] = {}
        for (id, name), (video, _) in self.videos.items():
            by_size.setdefault(video.size, []).append(f"{id}/{name}.mp4")
        if len(by_size) > 1:
            found = ", ".join(f"{cols}x{rows} ({_some(names)})" for (rows, cols), names in sorted(by_size.items()))
            least = min(min(size) for size in by_size)
            remedy = (
                f"track the larger films again with `mango track --size {least}`; imported ones: bring them to one size before the import"
            )
            raise InputError("pictures", expected="films of one size for stage two", found=found, remedy=remedy)

    def _camera(self, shot: Shot) -> tuple[Tensor, Tensor]:
        track = self.tracks[shot[:2]]
        per_frame = track.camera_from_world
        return per_frame[shot[2] if len(per_frame) > 1 else 0], track.intrinsics


def _refuse_unseen(dialogues: DialogueSet, unseen: Sequence[str], of: int) -> None:
    if unseen:
        found = f"{len(unseen)} of {of} labelled people without: {_some(unseen)} missing"
        remedy = (
            "make a set of their films with `mango track FILM --out SET --person NAME`, or take these dialogues out of the splits in "
            "dataset.json: labels alone are for stage one"
        )
        raise InputError(dialogues.root, expected="pictures and a track of everybody who has labels", found=found, remedy=remedy)


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
