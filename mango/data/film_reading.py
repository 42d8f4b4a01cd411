"""Films as they come: any container and codec that PyAV reads, any size, any or a changing frame rate, turned phones.

What comes out are upright pictures by the film's own time, counted from its first picture, and the sound from that moment on. Needs no
torch: it runs in a process of its own (`mango.data.formats.film_child`), for FFmpeg is C and films are strangers'. What takes long calls
``alive`` for every packet, so that who waits can tell a long film from a damaged one.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mango.data.film_colours import colours_changed, in_colours
from mango.errors import InputError

Picture = UInt8[np.ndarray, "rows cols 3"]
EARLY = Fraction(1, 25)  # seconds by which a picture may be shown before its time: where a film stands still, it stands still
LATE = 2.0  # seconds by which sound and pictures of one file may start apart
GAP = 0.04  # seconds of sound that is missing, from which on silence is put there; less is how times are rounded
MISSING = Fraction(1, 20)  # seconds at a film's end beyond which it is truncated; by less, containers round how long they are
THREADS = 4  # of a decoder; each holds some pictures
STRETCH = 0.03  # by which a picture's proportions may differ from the first one's, and be those of the encoder's blocks
COPY = "copy or encode the file again"


@dataclass(frozen=True)
class StoredFilm:
    """What is known of a film once all its packets were looked at, and one picture decoded."""

    size: tuple[int, int]  # rows and columns of upright pictures of square pixels
    frames: int  # that are shown
    missing: Fraction  # seconds at the end that the container promises and the file has not; 0 where it promises nothing
    seconds: Fraction  # from the first picture to the end of the last one, which lasts as long as most
    steady: bool  # frames come at equal distances
    channels: int  # of the sound; 0: none that can be read
    sound_seconds: Fraction  # from the first picture to the end of the sound
    changes: tuple[str, ...]  # between what is stored and what is shown, in words

    @property
    def rate(self) -> Fraction:
        """Mean frames a second; 0 where that means nothing."""
        return self.frames / self.seconds if self.seconds > 0 else Fraction(0)


FRACTIONS = tuple(field.name for field in fields(StoredFilm) if field.type is Fraction)  # which JSON has no numbers for


@dataclass(frozen=True)
class Upright:
    """How a stored picture becomes upright, as the film says: mirrored first, then turned."""

    mirrored: bool = False
    quarter_turns: int = 0  # counterclockwise

    def size(self, rows: int, cols: int) -> tuple[int, int]:
        return (rows, cols) if self.quarter_turns % 2 == 0 else (cols, rows)

    def __call__(self, stored: Picture) -> UInt8[np.ndarray, "upright_rows upright_cols 3"]:
        return np.ascontiguousarray(np.rot90(stored[:, ::-1] if self.mirrored else stored, self.quarter_turns))


def stored_film(path: str, alive: Callable[[], None]) -> StoredFilm:
    """Errors: InputError for what is no film, and for pictures that lie askew."""
    with _opened(path) as film:
        stream = _pictures_in(path, film)
        first, size, upright = _first(path, film, stream, alive)
    with _opened(path) as film:
        stream, sound, start = film.streams.best("video"), _sound_in(film), _time(first)
        ticks, whole_until, sound_end = [], 0, start
        for packet in film.demux([stream] if sound is None else [stream, sound]):
            alive()
            stamp = packet.dts if packet.pts is None else packet.pts
            if not packet.size or packet.is_corrupt:
                continue
            if packet.stream is not stream:
                sound_end = max(sound_end, ((stamp or 0) + (packet.duration or 0)) * packet.time_base)
                continue
            whole_until = max(whole_until, (stamp or 0) + (packet.duration or 0))
            if stamp is not None and not packet.is_discard and stamp * stream.time_base >= start:
                ticks.append(stamp)
        promised = (stream.start_time or 0) + (stream.duration or 0)  # without what an edit list cuts off, unlike stream.frames
        steps = np.diff(sorted(ticks))
        usual = float(np.median(steps)) if len(steps) else 0.0
        steady = bool(len(steps) and np.ptp(steps) < 0.5 * usual)
        return StoredFilm(
            size,
            frames=len(ticks),
            missing=max(0, promised - whole_until - round(usual)) * stream.time_base,  # how long the last picture lasts is not always said
            seconds=(max(ticks) - min(ticks) + Fraction(usual)) * stream.time_base if ticks else Fraction(0),
            steady=steady,
            channels=0 if sound is None else len(sound.codec_context.layout.channels),
            sound_seconds=sound_end - start,
            changes=(*_changes(upright, first, steady or len(steps) == 0), *_sound_changes(film, sound)),
        )


def pictures_at(path: str, moments: Sequence[Fraction], alive: Callable[[], None], *, strict: bool) -> Iterator[tuple[Picture, int]]:
    """Upright RGB pictures, each the film's nearest in time, and for how many of the moments: seconds after the first picture, rising.

    The last picture lasts. Of a damaged film the last good picture stays until the next, unless it is ``strict``.
    Errors: InputError for a film without pictures, and a damaged one if ``strict``.
    """
    with _opened(path) as film:
        stream = _pictures_in(path, film)
        stream.thread_type, stream.codec_context.thread_count = "AUTO", THREADS
        shown, shown_at, given = None, Fraction(0), 0
        for frame in _decoded(path, film, stream, alive, strict):
            if shown is None:
                start, upright = _time(frame), _upright(path, frame)
                size = _size(upright, frame, stream)
            at = _time(frame) - start
            until = max((shown_at + at) / 2, at - EARLY)
            count = 0 if shown is None else sum(1 for moment in _up_to(until, moments, given))
            if count:
                yield _picture(shown, upright, size, stream), count
            given += count
            if given == len(moments):
                return
            shown, shown_at = frame, at
        if shown is None:
            raise InputError(path, expected="pictures", found="none that can be decoded", remedy=COPY)
        if strict and moments[-1] > shown_at + 1:
            found = f"the last one at {float(shown_at):.2f} s"
            raise InputError(path, expected=f"pictures up to {float(moments[-1]):.2f} s", found=found, remedy=COPY)
        yield _picture(shown, upright, size, stream), len(moments) - given


def sound_pieces(
    path: str, seconds: float, alive: Callable[[], None], *, strict: bool
) -> Iterator[tuple[int, Float[np.ndarray, "samples channels"]]]:
    """Samples a second, and the sound piece by piece by its own times, from the moment of the first picture on for so many seconds.

    Of a file without pictures from its own beginning on; a cover is no picture. Nothing after its end; silence where there is a gap, or
    damage that is passed over. Errors: InputError for sound of another time, and damage if ``strict``.
    """
    import av

    with _opened(path) as film:
        seen = any(not stream.disposition & av.stream.Disposition.attached_pic for stream in film.streams.video)
        start = _time(_first(path, film, _pictures_in(path, film), alive)[0]) if seen else None
    with _opened(path) as film:
        stream = _sound_in(film)
        if stream is None:
            return
        rate, layout = stream.codec_context.sample_rate, stream.codec_context.layout
        even, done, wanted = av.AudioResampler(format="flt", layout=layout, rate=rate), None, round(seconds * rate)
        for frame in chain(_decoded(path, film, stream, alive, strict), [None]):  # None: what the resampler still holds
            if frame is not None and start is None:
                start = _time(frame)
            at = done if frame is None else round((_time(frame) - start) * rate)
            for resampled in even.resample(frame):
                piece = resampled.to_ndarray().reshape(-1, len(layout.channels))
                if done is None:
                    if abs(at) > LATE * rate:
                        found = f"{at / rate:.1f} s apart"
                        raise InputError(path, expected="sound that starts with the pictures", found=found, remedy="cut the film again")
                    done = min(at, 0)
                if at - done > (GAP * rate if done else 0):
                    for silent in range(done, min(at, wanted), rate):
                        yield rate, np.zeros((min(rate, min(at, wanted) - silent), piece.shape[1]), np.float32)
                    done = at
                if done - at > GAP * rate:
                    piece = piece[done - at :]
                yield rate, piece[max(-done, 0) : max(wanted - done, 0)]
                done += len(piece)
            if done is not None and done >= wanted:
                return


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    import av

    try:
        with av.open(
            os.path.abspath(path), metadata_errors="replace"
        ) as film:  # a name with a colon would be an address; titles are anything
            yield film
    except av.FFmpegError as error:
        raise InputError(path, expected="a film", found=_words(error), remedy=COPY) from error


def _pictures_in(path: str, film: Any) -> Any:
    stream = film.streams.best("video")
    if stream is None:
        raise InputError(path, expected="a film of a face", found="a file without pictures", remedy="check which file this is")
    return stream


def _sound_in(film: Any) -> Any:
    """The stream that players take, where its codec is known."""
    sound = film.streams.best("audio")
    return None if sound is None or sound.codec_context is None else sound


def _first(path: str, film: Any, stream: Any, alive: Callable[[], None]) -> tuple[Any, tuple[int, int], Upright]:
    """The first picture that can be decoded, with which the film begins; its size on the screen, and how it comes there."""
    for frame in _decoded(path, film, stream, alive, strict=False):
        upright = _upright(path, frame)
        return frame, _size(upright, frame, stream), upright
    raise InputError(path, expected="pictures", found="none that can be decoded", remedy=COPY)


def _decoded(path: str, film: Any, stream: Any, alive: Callable[[], None], strict: bool) -> Iterator[Any]:
    """Frames with a time. What is damaged is left out, as players do, or refused; what leads up to a cut's first frame never comes."""
    import av

    begun, first, last = False, None, -1
    counted = film.format.name == "avi" and stream.type == "video" and stream.codec_context.has_b_frames  # packets, not pictures
    packets = film.demux(stream)
    while True:
        alive()
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except av.FFmpegError as error:
            if begun and strict:
                raise InputError(path, expected="an intact film", found=_words(error), remedy=COPY) from error
            if isinstance(error, av.InvalidDataError):
                continue
            if begun:
                return
            raise
        if packet is None:
            return
        for frame in frames:
            if counted:
                first = frame.dts if first is None else first
                frame.pts = last = last + 1 if None in (first, frame.dts) else max(frame.dts - first, last + 1)
            if frame.pts is not None:
                begun = True
                yield frame


def _up_to(until: Fraction, moments: Sequence[Fraction], first: int) -> Iterator[Fraction]:
    for number in range(first, len(moments)):
        if moments[number] > until:
            return
        yield moments[number]


def _time(frame: Any) -> Fraction:
    return frame.pts * frame.time_base


def _upright(path: str, frame: Any) -> Upright:
    """By the display matrix, as QuickTime defines it: what is stored at (x, y) is shown at (a x + c y, b x + d y)."""
    sides = [side for side in frame.side_data if side.type.name == "DISPLAYMATRIX"]
    if not sides:
        return Upright()
    a, b, _, c, d = np.frombuffer(bytes(sides[0]), np.int32)[:5].astype(float)
    mirrored = bool(a * d - b * c < 0)
    degrees = np.degrees(np.arctan2(-b, a) if not mirrored else np.arctan2(b, -a))
    turns = round(degrees / 90)
    if abs(degrees - 90 * turns) > 1:
        raise InputError(path, expected="pictures turned by quarters", found=f"{degrees:.0f} degrees", remedy="encode the film again")
    return Upright(mirrored, turns % 4)


def _size(upright: Upright, frame: Any, stream: Any) -> tuple[int, int]:
    """Rows and columns, upright; pixels that are not square become square."""
    shape = stream.sample_aspect_ratio or Fraction(1)
    return upright.size(frame.height, round(frame.width * (shape if Fraction(1, 4) < shape < 4 else 1)))


def _picture(frame: Any, upright: Upright, size: tuple[int, int], stream: Any) -> Picture:
    """In the size of the first one: pixels become square, and in calls whose pictures change their shape bars make up for it."""
    stored = in_colours(frame)
    picture = upright(stored[::2] if frame.interlaced_frame else stored)  # of two moments the first
    if picture.shape[:2] == size:
        return picture
    import cv2

    own = _size(upright, frame, stream)
    fits = min(size[0] / own[0], size[1] / own[1])
    rows, cols = (min(round(fits * own[side]), size[side]) for side in (0, 1))
    if max(size[0] / rows, size[1] / cols) <= 1 + STRETCH:
        rows, cols = size
    smaller = picture.shape[0] >= rows and picture.shape[1] >= cols
    scaled = cv2.resize(picture, (cols, rows), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    above, left = (size[0] - rows) // 2, (size[1] - cols) // 2
    return np.pad(scaled, ((above, size[0] - rows - above), (left, size[1] - cols - left), (0, 0)))


def _changes(upright: Upright, first: Any, steady: bool) -> Iterator[str]:
    colours = colours_changed(first)
    if first.interlaced_frame:
        yield "interlaced: of each picture's two moments the first is shown, in half the rows"
    if upright.quarter_turns or upright.mirrored:
        yield f"stored {'mirrored' if upright.mirrored else 'turned'}: shown upright, as the film says"
    if colours is not None:
        yield colours
    if not steady:
        yield "frames at uneven times: each moment shows the one nearest in time"


def _sound_changes(film: Any, sound: Any) -> Iterator[str]:
    tracks = film.streams.audio
    if sound is None and len(tracks):
        yield "sound of a kind that cannot be read: silence"
    elif len(tracks) > 1:
        yield f"of {len(tracks)} sound tracks one is heard, number {tracks.index(sound) + 1}"


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
