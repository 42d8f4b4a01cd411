"""Sound files in and out: any rate, any channel count, what libsndfile reads and what phones and browsers record; mono inside, and
16 kHz unless another rate is asked for.
"""

import errno
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.audio.alignment import SAMPLES_PER_FRAME
from mango.errors import InputError
from mango.types import SAMPLE_RATE

FINEST_RATE = 48_000  # of sound that is listened to and not learnt from: what films have
LONGEST_SECONDS = 1e6  # of a sound
BLOCK_SECONDS = 30  # read and resampled at a time: ten hours need the memory of the result only
RECORD_AGAIN = "give an intact recording (wav, flac, ogg, mp3 or m4a) of at least 0.04 s"
QUICKTIME = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # the first part of an m4a, mp4 or mov
MATROSKA = b"\x1aE\xdf\xa3"  # webm, which browsers record


def read_audio(path: str | Path, *, channel: int | None = None, rate: int = SAMPLE_RATE) -> Float[Tensor, "samples"]:
    """A file as mono in [-1, 1] at ``rate``. Channels are averaged unless one is named. A silent file is fine, a constant is not."""
    path = Path(path)
    with opened_sound(path) as file:
        if channel is not None and not 0 <= channel < file.channels:
            raise InputError(path, expected=f"a channel {channel}", found=f"{_channels(file.channels)} (counted from 0)",
                             remedy="name a channel the file has")  # fmt: skip
        blocks = _resampled(_mono_blocks(file, path, channel), file.samplerate, rate)
        audio = np.concatenate([*blocks, np.zeros(0, np.float32)])
    _check_signal(path, audio, rate)
    peak = float(max(audio.max(), -audio.min()))
    return torch.from_numpy(audio / peak if peak > 1 else audio)  # float files may exceed full scale, resampling by a hair


def sound_rate(path: str | Path) -> int:
    """Samples a second, as they were recorded."""
    with opened_sound(Path(path)) as file:
        return file.samplerate


def read_voices(
    own: str | Path, partner: str | Path | None, *, pad: bool = False
) -> tuple[Float[Tensor, "samples"], Float[Tensor, "samples"]]:
    """Both voices of a dialogue, equally long: from two files, or from one stereo file (channel 0 own, channel 1 partner).

    What one file has beyond the other of less than a frame, as encoders leave it, is cut.
    """
    if partner is None:
        with opened_sound(Path(own)) as file:
            channels = file.channels
        if channels != 2:
            raise InputError(own, expected="two voices: a second file, or one stereo file with a person per channel",
                             found=f"one file with {_channels(channels)}", remedy="name the partner's file too")  # fmt: skip
        return read_audio(own, channel=0), read_audio(own, channel=1)
    voices = read_audio(own), read_audio(partner)
    first, second = (voice.shape[0] for voice in voices)
    if abs(first - second) < SAMPLES_PER_FRAME:
        return tuple(voice[: min(first, second)] for voice in voices)
    if not pad:
        longer, shorter = (own, partner) if first > second else (partner, own)
        raise InputError(longer, expected=f"the length of {shorter}, {min(first, second) / SAMPLE_RATE:.3f} s",
                         found=f"{max(first, second) / SAMPLE_RATE:.3f} s, longer by {abs(first - second) / SAMPLE_RATE:.3f} s",
                         remedy="cut both to the same recording time, or pass --pad to fill the shorter with silence")  # fmt: skip
    length = max(first, second)
    return tuple(voice if len(voice) == length else torch.nn.functional.pad(voice, (0, length - len(voice))) for voice in voices)


def write_audio(path: str | Path, audio: Float[Tensor, "channels samples"] | Float[Tensor, "samples"], rate: int = SAMPLE_RATE) -> None:
    """A 16-bit wav, clipped to [-1, 1]; written beside its place, then renamed."""
    import soundfile

    path, content = Path(path), BytesIO()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    samples = audio.detach().clamp(-1, 1).cpu().numpy().T
    soundfile.write(content, samples, rate, subtype="PCM_16", format="WAV")
    try:
        temporary.write_bytes(content.getbuffer())  # not by libsndfile, which does not say that a disk is full
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def opened_sound(path: Path) -> Iterator:
    """The open sound file (`soundfile.SoundFile`); of what libsndfile cannot read a copy that it can.

    Errors: InputError with the reason why there is none.
    """
    if in_a_container(path) or is_mp3_of_unknown_length(path):
        with tempfile.TemporaryDirectory() as folder, _opened(_decoded(path, Path(folder) / "sound.wav")) as file:
            yield file
    else:
        with _opened(path) as file:
            yield file


def in_a_container(path: Path) -> bool:
    """By its first bytes: m4a and AAC, films, webm."""
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        head = file.read(12)
    aac = head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0
    return head[4:8] in QUICKTIME or head[:4] == MATROSKA or aac


def is_mp3_of_unknown_length(path: Path) -> bool:
    """Without a Xing header, as dictaphones and cutters write them: libsndfile would guess the length, and stop there."""
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:
            file.seek(10 + sum((byte & 0x7F) << 7 * (3 - k) for k, byte in enumerate(head[6:])))
        else:
            file.seek(0)
        frame = file.read(256)
    third_layer = frame[:1] == b"\xff" and len(frame) > 1 and frame[1] & 0xE6 == 0xE2
    return third_layer and not any(tag in frame for tag in (b"Xing", b"Info"))


def sound_copy(path: Path, rate: int, channels: int):
    """A wav to write to, open, of any length: plain ones end at 4 GiB, in silence (`soundfile.SoundFile`)."""
    import soundfile

    return soundfile.SoundFile(path, "w", rate, channels, subtype="FLOAT", format="RF64")


def _decoded(path: Path, copy: Path) -> Path:
    """All the sound of a file, as FFmpeg reads it, as a wav."""
    import soundfile

    from mango.data.formats.foreign_films import sound_pieces

    file = None
    try:
        for rate, piece in sound_pieces(path, LONGEST_SECONDS):
            file = file or sound_copy(copy, rate, piece.shape[1])
            file.write(piece)
    except InputError as error:
        raise InputError(path, expected="a sound file", found=error.found, remedy=RECORD_AGAIN) from error
    except soundfile.LibsndfileError as error:  # of writing, which fails where there is no room
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(copy)) from error
    finally:
        if file is not None:
            file.close()
    if file is None:
        raise InputError(path, expected="a sound file", found="no sound in it", remedy=RECORD_AGAIN)
    return copy


def _opened(path: Path):
    """The open sound file, or the reason why there is none."""
    import soundfile

    if not path.exists():
        raise InputError(path, expected="a sound file", found="no such file", remedy="check the path")
    if path.is_dir():
        raise InputError(path, expected="a sound file", found="a folder", remedy="name a file in it")
    if path.stat().st_size == 0:
        raise InputError(path, expected="a sound file", found="an empty file (0 bytes)", remedy=RECORD_AGAIN)
    try:
        file = soundfile.SoundFile(path)
    except PermissionError as error:
        raise InputError(path, expected="a readable file", found="no permission to read it", remedy="change its permissions") from error
    except soundfile.LibsndfileError as error:
        if not os.access(path, os.R_OK):
            raise InputError(path, expected="a readable file", found="no permission to read it", remedy="change its permissions") from error
        raise InputError(path, expected="a sound file", found=_nature(path), remedy=RECORD_AGAIN) from error
    missing = _missing_bytes(path) if file.format in ("WAV", "WAVEX") else 0
    if missing:
        file.close()
        raise InputError(path, expected="a whole file", found=f"a truncated one ({missing} bytes missing at the end)",
                         remedy="copy or convert the file again")  # fmt: skip
    return file


def _mono_blocks(file, path: Path, channel: int | None) -> Iterator[Float[np.ndarray, "samples"]]:
    import soundfile

    num_read, announced = 0, file.frames
    while True:
        try:
            block = file.read(BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise InputError(path, expected="a whole file", found=f"damage after {num_read / file.samplerate:.2f} s",
                             remedy="copy or convert the file again") from error  # fmt: skip
        if not len(block):
            break
        num_read += len(block)
        if not np.isfinite(block).all():
            at = num_read - len(block) + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise InputError(path, expected="finite samples", found=f"NaN or infinity at {at / file.samplerate:.3f} s",
                             remedy="export the sound again")  # fmt: skip
        yield block[:, channel] if channel is not None else block.mean(axis=1, dtype=np.float32)
    if num_read < announced < 2**62:
        raise InputError(path, expected=f"{announced} samples, as its header says", found=f"{num_read} (a truncated file)",
                         remedy="copy or convert the file again")  # fmt: skip


def _resampled(blocks: Iterator[Float[np.ndarray, "_"]], rate: int, wanted: int) -> Iterator[Float[np.ndarray, "_"]]:
    """From ``rate`` to the ``wanted`` one by the exact ratio, block by block, with the same result as all at once."""
    from scipy.signal import resample_poly

    divisor = math.gcd(rate, wanted)
    up, down = wanted // divisor, rate // divisor
    if up == down:
        yield from blocks
        return
    reach = 10 * max(up, down) // up + 2  # of resample_poly's filter, in samples read
    margin = math.ceil(reach / down) * down  # whole output steps, so that blocks fall on the same grid
    held, before = np.zeros(0, np.float32), 0  # samples not yet finished; how many of them are only left context
    for block in blocks:
        held = np.concatenate([held, block])
        ready = (len(held) - before - margin) // down * down
        if ready > 0:
            out = resample_poly(held, up, down)
            yield out[before * up // down : (before + ready) * up // down].astype(np.float32)
            drop = max(0, before + ready - margin)
            held, before = held[drop:], before + ready - drop
    if len(held) > before:
        yield resample_poly(held, up, down)[before * up // down :].astype(np.float32)


def _check_signal(path: Path, audio: Float[np.ndarray, "samples"], rate: int) -> None:
    if len(audio) * SAMPLE_RATE < SAMPLES_PER_FRAME * rate:
        found = "no samples" if not len(audio) else f"{len(audio) / rate:.4f} s"
        raise InputError(path, expected="at least 0.04 s of sound (one frame)", found=found, remedy=RECORD_AGAIN)
    inside, minute = audio[10:-10], 60 * rate  # resampling rings at the ends
    minutes = (np.abs(inside[first : first + minute]) for first in range(0, len(inside), minute))
    loudest, quietest = np.array([(some.max(), some.min()) for some in minutes]).T
    if loudest.max() > 1e-3 and loudest.max() - quietest.min() < 0.02 * loudest.max():
        raise InputError(path, expected="sound", found=f"the constant value {audio[len(audio) // 2]:.3f} (a clipped or dead channel)",
                         remedy="record again at a lower level")  # fmt: skip


def _channels(count: int) -> str:
    return f"{count} channel" + ("s" if count != 1 else "")


def _nature(path: Path) -> Literal["text", "a damaged or unknown format"]:
    head = path.open("rb").read(512)
    try:
        printable = head.decode("utf-8", errors="strict").replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable()
    except UnicodeDecodeError:
        printable = False
    return "text" if printable else "a damaged or unknown format"


def _missing_bytes(path: Path) -> int:
    """How much shorter a wav's data is than its header says. Writers to pipes leave 0 or 2^32 - 1 there: nothing is missing then."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return 0
        file.seek(12)
        while len(header := file.read(8)) == 8:
            length = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                return 0 if length >= 0x7FFFFF00 else max(0, file.tell() + length - size)
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0
