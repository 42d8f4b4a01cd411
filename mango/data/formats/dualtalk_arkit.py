"""DualTalk-ARKit (github.com/OpenFacebot/DualTalk_Dataset_ARKit): DualTalk's dialogues as ARKit weights, which were fitted to its FLAME
coefficients by its makers. 25 fps, 16 kHz float32 wav.

ROOT/metadata/{train,test,ood}.jsonl   a dialogue a line: name, speaker{1,2}_{text,audio,flame,arkit,arkit_sha256,frames}, null where none
ROOT/ARKit_npy/PATH_OF_ARKIT           .npy (T, 61): 52 weights, yaw, pitch and roll of head and eyes (these zero), radians
ROOT/PATH_OF_AUDIO
"""

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from mango.data.formats.arkit_columns import ANGLES, LIVE_LINK
from mango.data.formats.arkit_npy import motion_of_columns
from mango.data.formats.dualtalk import FPS, NAME, SPLITS
from mango.data.formats.guarded import AGAIN, LARGEST_ARRAYS, LARGEST_TEXT, array_of, content_of, numbers, refusing
from mango.data.formats.recordings import ArkitMotion, Entry, Options, PersonRecording, Recording, assumed, certain
from mango.data.formats.sounds import sound_of
from mango.errors import InputError

SPEAKERS = ("speaker1", "speaker2")
SWAPPED = {"jawLeft": "jawRight", "jawRight": "jawLeft", "mouthLeft": "mouthRight", "mouthRight": "mouthLeft"}
COLUMNS = (*(SWAPPED.get(name, name) for name in LIVE_LINK), *ANGLES)  # left before right, which Live Link Face has the other way here


def recognise(path: Path) -> str | None:
    lists = _lists(path)
    for file in lists.values():
        for line in _lines(file)[:1]:
            if any(_place(file, line, speaker) is not None for speaker in SPEAKERS):
                return f"lists of dialogues ({', '.join(lists)}) with ARKit weights"
    return None


def entries(path: Path, options: Options) -> list[Entry]:
    found = []
    for split, file in _lists(path).items():
        for line in _lines(file):
            speakers = tuple(speaker for speaker in SPEAKERS if line.get(f"{speaker}_arkit") is not None)
            if not speakers:
                continue
            named = {speaker: NAME.fullmatch(f"{line['name']}_{speaker}") for speaker in speakers}
            people = tuple(f"{match['video'] if match else line['name']}_{speaker}" for speaker, match in named.items())
            files = tuple(place for speaker in speakers for kind in ("arkit", "audio") if (place := _place(file, line, speaker, kind)))
            found.append(
                Entry(line["name"], people, files, partial(_dialogue, file, line, speakers, people, options), SPLITS.get(split, split))
            )
    return found


def _lists(path: Path) -> dict[str, Path]:
    """By split."""
    return {split: file for split in SPLITS for file in (path / "metadata" / f"{split}.jsonl",) if file.is_file()} if path.is_dir() else {}


def _lines(file: Path) -> list[Mapping]:
    found = []
    with refusing(file, "a JSON object a line"):
        for number, text in enumerate(content_of(file, LARGEST_TEXT).decode("utf-8-sig").split("\n"), start=1):
            if not text.strip():
                continue
            line = json.loads(text)
            if not isinstance(line, Mapping) or not isinstance(line.get("name"), str) or not line["name"]:
                raise InputError(f"{file}, line {number}", expected="an object with a name", found=text[:60], remedy=AGAIN)
            found.append(line)
    return found


def _place(file: Path, line: Mapping, speaker: str, kind: str = "arkit") -> Path | None:
    """The file that a line names, where it is one. Errors: InputError for a path that leads out of the set."""
    written = line.get(f"{speaker}_{kind}")
    if written is None:
        return None
    path, root = PurePosixPath(str(written)), file.parent.parent
    if path.is_absolute() or ".." in path.parts:
        raise InputError(
            file, expected=f"{speaker}_{kind} as a path in the set", found=repr(written)[:120], remedy="write it relative to the set"
        )
    place = (root / "ARKit_npy" if kind == "arkit" else root) / path
    return place if place.is_file() else None


def _dialogue(file: Path, line: Mapping, speakers: tuple[str, ...], people: tuple[str, ...], options: Options) -> Recording:
    sides = []
    for speaker, person in zip(speakers, people, strict=True):
        wav = _place(file, line, speaker, "audio")
        sides.append(PersonRecording(person, _motion(file, line, speaker), sound_of(wav) if wav is not None else None))
    beliefs = [
        certain("25 frames a second; columns in the order of DualTalk-ARKit's own programs"),
        assumed("weights were fitted to FLAME coefficients by their makers: gaze and tongue are zero, left and right nearly the same"),
    ]
    if len(sides) == 1:
        beliefs.append(certain("one of the two speakers only"))
    return Recording(line["name"], tuple(sides), FPS, tuple(beliefs), fps_is_stated=True)


def _motion(file: Path, line: Mapping, speaker: str) -> ArkitMotion:
    place, digest, frames = _place(file, line, speaker), line.get(f"{speaker}_arkit_sha256"), line.get(f"{speaker}_frames")
    if place is None:
        remedy = "download ARKit_npy too (docs/formats.md)"
        raise InputError(file, expected=f"ARKit_npy/{line[f'{speaker}_arkit']}", found="no such file", remedy=remedy)
    content = content_of(place, LARGEST_ARRAYS)
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise InputError(place, expected=f"sha256 {str(digest)[:12]}, as its list says", found="another", remedy="download it again")
    values = numbers(place, "weights", array_of(place, content), (None, len(COLUMNS)))
    if frames is not None and len(values) != frames:
        raise InputError(place, expected=f"{frames} frames, as its list says", found=f"{len(values)}", remedy="download it again")
    return motion_of_columns(COLUMNS, values)
