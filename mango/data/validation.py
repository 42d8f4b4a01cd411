"""Everything that is wrong with a dialogue set, in one run."""

import re
from collections.abc import Iterator
from pathlib import Path

from mango.data.arrays import read_npy
from mango.data.atomic import PARTIAL
from mango.data.descriptions import NOBODY, DialogueDescription, SetDescription, dialogue_problems, read_dialogue, set_problems
from mango.data.descriptions import read_set as read_set_description
from mango.data.json_files import read_json
from mango.data.members import PackedFolder
from mango.data.motion_files import Basis, motion_problems
from mango.data.phones import phones_problems
from mango.data.problem import Problem, noted
from mango.data.shards import DESCRIPTION, is_packed, open_shards, packed_ids, read_shards
from mango.data.side_files import speaking_problems, track_problems, voice_problems
from mango.types import FRAME_RATE, PERSONS, SAMPLE_RATE, StoredFile

__all__ = ["Problem", "problems"]

SIDE_FILES = ("wav", "motion.npz", "motion.json", "mp4", "mask.mp4", "track.npz", "speaking.npy", "speaking.json", "phones.json")
FILES = {"dialogue.json"} | {f"{side}.{suffix}" for side in PERSONS for suffix in SIDE_FILES}
FEATURES = re.compile(r"(?P<id>.+)\.(?P<side>[ab])\.(?:npy|sound)")
STRAY = "move it out of the set"


def problems(root: Path | str, *, head: Basis | None = None) -> list[Problem]:
    """Every problem of every file below ``root``. With ``head`` also whether the set belongs to that head."""
    return list(_set_problems(Path(root), head))


def _set_problems(root: Path, head: Basis | None) -> Iterator[Problem]:
    path = root / "dataset.json"
    content = None
    with noted() as unreadable:
        content = read_json(path)
    yield from unreadable
    described = None
    if content is not None:
        wrong = list(set_problems(path, content))
        yield from wrong
        described = None if wrong else read_set_description(path)
    if is_packed(root):
        folders = yield from _shard_problems(root)
    else:
        folders = yield from _folder_problems(root)
    if folders is None:
        return
    if described is not None and head is not None and described.head.digest != head.digest:
        yield Problem(path, f"head {head.digest[:12]}", f"head {described.head.digest[:12]}", "load the head of the set, or retarget it")
    cast = {}
    for folder in folders:
        dialogue = yield from _dialogue_problems(folder, described)
        if dialogue is not None:
            cast[folder.name] = dialogue
    if described is not None:
        yield from _membership_problems(root, described, cast, packed_ids(root) if is_packed(root) else {folder.name for folder in folders})
    yield from _feature_problems(root / "features", cast)


def _folder_problems(root: Path) -> Iterator[Problem]:
    """What is wrong around the dialogues' folders; returns them, or None where there are none."""
    yield from _strays(root, {"dataset.json", "dialogues", "features", "import.jsonl"})
    if not (root / "dialogues").is_dir():
        yield Problem(root / "dialogues", "a folder of dialogues", "none", "copy the dialogues here")
        return None
    folders = []
    for folder in sorted((root / "dialogues").iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            yield _stray(folder)
        else:
            folders.append(folder)
    return folders


def _shard_problems(root: Path) -> Iterator[Problem]:
    """Members of shards that are not as they were packed; returns the folders that are, or None where nothing can be known."""
    shards = None
    with noted() as unreadable:
        shards = open_shards(root)
        names = {name for shard in read_shards(root) for name in (shard.name, shard.index_name)}
    yield from unreadable
    if shards is None:
        return None
    yield from _strays(root, {"dataset.json", DESCRIPTION, "features", *names})
    for error in dict.fromkeys(shards.lost.values()):
        yield Problem(Path(error.where), error.expected, error.found, error.remedy)
    folders = []
    for folder in sorted(shards.folders.values(), key=lambda folder: folder.name):
        wrong = []
        for member in folder.iterdir():
            with noted() as damaged:
                member.check()
            wrong += damaged
        yield from wrong
        if not wrong:
            folders.append(folder)
    return folders


def _dialogue_problems(folder: Path | PackedFolder, described: SetDescription | None) -> Iterator[Problem]:
    """Problems of one dialogue; returns its description where that can be read."""
    path = folder / "dialogue.json"
    wrong: list[Problem] = []
    with noted() as unreadable:
        wrong = list(dialogue_problems(path, read_json(path)))
    yield from (*unreadable, *wrong)
    dialogue = None if unreadable or wrong else read_dialogue(path)
    lengths = {}
    for side in PERSONS:
        frames = dialogue.frames if dialogue else None
        yield from _side_problems(folder, side, frames, described)
        lengths[side] = _samples(folder / f"{side}.wav")
    if None not in lengths.values() and lengths["a"] != lengths["b"]:
        longer, shorter = sorted(lengths, key=lengths.get, reverse=True)
        more = lengths[longer] - lengths[shorter]
        found = f"{longer}.wav longer by {more} samples ({more / SAMPLE_RATE:.2f} s)"
        yield Problem(folder, "voices of one length", found, f"pad {shorter}.wav with silence or cut {longer}.wav")
    if described is not None and dialogue is not None:
        for side, person in dialogue.people.items():
            if person != NOBODY and person not in described.people:
                yield Problem(path, "people of dataset.json", f"{person!r} as {side}", "add the person to dataset.json")
    yield from _strays(folder, FILES)
    for side in PERSONS:
        description = folder / f"{side}.motion.json"
        if description.exists() and not (folder / f"{side}.motion.npz").exists():
            yield Problem(description, f"{side}.motion.npz beside it", "none", "copy the motion along, or remove its description")
    return dialogue


def _side_problems(folder: Path | PackedFolder, side: str, frames: int | None, described: SetDescription | None) -> Iterator[Problem]:
    def file(suffix: str) -> StoredFile:
        return folder / f"{side}.{suffix}"

    yield from voice_problems(file("wav"))
    samples = _samples(file("wav"))
    per_frame = SAMPLE_RATE // FRAME_RATE
    if None not in (samples, frames) and samples // per_frame != frames:
        found = f"{samples} samples, {samples // per_frame} frames"
        yield Problem(file("wav"), f"{frames} frames of {per_frame} samples", found, "cut or pad the sound, or correct dialogue.json")
    if file("motion.npz").exists():
        head = described.head if described else None
        yield from motion_problems(file("motion.npz"), head=head, frames=frames, fps=FRAME_RATE)
    if file("speaking.npy").exists():
        yield from speaking_problems(file("speaking.npy"), frames)
    if file("track.npz").exists():
        yield from track_problems(file("track.npz"), frames)
    if file("phones.json").exists():
        yield from phones_problems(file("phones.json"), frames)
    sizes = {}
    for suffix in ("mp4", "mask.mp4"):
        if file(suffix).exists():
            sizes[suffix] = yield from _video_problems(file(suffix), frames)
    if file("mask.mp4").exists() and not file("mp4").exists():
        yield Problem(file("mask.mp4"), f"{side}.mp4 that it is the mask of", "none", "copy the pictures along, or remove the mask")
    elif len(set(sizes.values())) > 1 and None not in sizes.values():
        rows, cols = sizes["mask.mp4"]
        expected = f"the size of {side}.mp4, {sizes['mp4'][1]}x{sizes['mp4'][0]}"
        yield Problem(file("mask.mp4"), expected, f"{cols}x{rows}", "write the mask at the size of the pictures")


def _video_problems(path: StoredFile, frames: int | None) -> Iterator[Problem]:
    """Problems of one video; returns its rows and columns where they can be read."""
    from mango.data.video import VideoFrames

    video = None
    with noted() as unreadable:
        video = VideoFrames(path)
    yield from unreadable
    if video is None:
        return None
    again = "write it again with mango.data.video.write_video or `mango data import`"
    index, (rows, cols) = video.index, video.size
    if frames is not None and len(video) != frames:
        yield Problem(path, f"{frames} frames", f"{len(video)}", "cut the video to the dialogue, or correct dialogue.json")
    if video.fps != FRAME_RATE or not index.steady:
        found = f"{float(video.fps):.5g} fps" + ("" if index.steady else " at unequal distances")
        yield Problem(path, f"{FRAME_RATE} fps", found, again)
    if index.codec != "h264" or index.pixels not in ("yuv420p", "yuvj420p"):
        yield Problem(path, "H.264 in yuv420p", f"{index.codec} in {index.pixels}", again)
    if rows % 2 or cols % 2:
        yield Problem(path, "even width and height", f"{cols}x{rows}", again)
    if (index.starts != range(len(index.starts))).any():
        yield Problem(path, "every frame a key frame", f"{len(set(index.starts))} of {len(index.starts)}", again)
    with noted() as damaged:
        for start in range(0, len(video), 64):
            video.mattes(range(start, min(start + 64, len(video))))
    yield from damaged
    return rows, cols


def _membership_problems(root: Path, described: SetDescription, cast: dict[str, DialogueDescription], there: set[str]) -> Iterator[Problem]:
    """Splits, dialogues that are there and people against each other."""
    path = root / "dataset.json"
    listed = {id: name for name, ids in described.splits.items() for id in ids}
    for id in sorted(set(listed) - there):
        found = "it in no shard" if is_packed(root) else "no folder"
        yield Problem(root / "dialogues" / id, f"a dialogue, as split {listed[id]!r} says", found, "copy it here or correct the splits")
    for id in sorted(there - set(listed)):
        yield Problem(root / "dialogues" / id, "a dialogue of some split", "one in none", "add it to a split of dataset.json or remove it")
    if described.share_people:
        return
    people = {
        name: {person: id for id in ids if id in cast for person in cast[id].people.values()} for name, ids in described.splits.items()
    }
    train, test = people.get("train", {}), people.get("test", {})
    for person in sorted((set(train) & set(test)) - {NOBODY}):
        found = f"{person!r} in {train[person]} (train) and {test[person]} (test)"
        remedy = "move a dialogue, or set splits.share_people to true and say so with every result"
        yield Problem(path, "people of train who are not in test", found, remedy)


def _feature_problems(features: Path, cast: dict[str, DialogueDescription]) -> Iterator[Problem]:
    for folder in sorted(features.iterdir()) if features.is_dir() else ():
        if not folder.is_dir():
            yield _stray(folder)
            continue
        for path in sorted(folder.iterdir()):
            name = FEATURES.fullmatch(path.name)
            if name is None or name["id"] not in cast:
                yield Problem(path, "features of a dialogue of this set, <id>.{a,b}.npy", path.name, "remove it: it is only a cache")
                continue
            if path.suffix == ".sound":
                continue
            rows = None
            with noted() as unreadable:
                rows = read_npy(path).shape[:1]
            yield from unreadable
            if rows is not None and rows != (cast[name["id"]].frames,):
                yield Problem(path, f"{cast[name['id']].frames} rows", f"{rows}", "remove it: it is only a cache")


def _strays(folder: Path | PackedFolder, known: set[str]) -> Iterator[Problem]:
    for path in sorted(folder.iterdir(), key=str) if folder.is_dir() else ():
        if path.name not in known:
            yield _stray(path)


def _stray(path: StoredFile) -> Problem:
    if PARTIAL in path.name:
        return Problem(path, "finished files only", "what an interrupted write left", "remove it")
    return Problem(path, "only what the dialogue format names", "another file or folder", STRAY)


def _samples(path: StoredFile) -> int | None:
    """Length of a sound by its header, None where there is none."""
    import soundfile

    try:
        with path.open("rb") as file:
            return soundfile.info(file).frames
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        return None
