"""Every format by name: how it is recognised (by what is in a file or folder) and read. Modules are imported when they are needed."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from mango.data.formats.guarded import refusing
from mango.data.formats.recordings import Entry, Options, Recording, entry_in_folder
from mango.errors import InputError


@dataclass(frozen=True)
class Format:
    """A module with ``recognise(path) -> str | None`` (what it is, in words) and ``entries(path, options) -> list[Entry]``."""

    name: str
    summary: str
    module: str
    files: tuple[str, ...] = ()  # suffixes of files that are a recording each: a folder may hold many, and folders of them

    def recognise(self, path: Path) -> str | None:
        try:
            with refusing(path, self.summary):
                words = self._loaded("recognise")(path)
        except InputError:
            words = None
        if words or not path.is_dir():
            return words
        files = self._files_of(path)
        return f"a folder of {len(files)}, the first {files[0].name}: {self.recognise(files[0])}" if files else None

    def entries(self, path: Path, options: Options = Options()) -> list[Entry]:
        """The recordings of a source, read when they are asked for. Errors: InputError for everything that a source can get wrong."""
        if not path.exists():
            raise InputError(path, expected=self.summary, found="no such file or folder", remedy="check the path")
        with refusing(path, self.summary):
            files = self._files_of(path) if path.is_dir() else []
            read = self._loaded("entries")
            inside = [(file, entry) for file in files for entry in read(file, options)]
            found = [entry if file.parent == path else entry_in_folder(file.parent, entry) for file, entry in inside] or read(path, options)
        if not found:
            remedy = "`mango data inspect` says what it is"
            raise InputError(path, expected=self.summary, found="nothing of that kind", remedy=remedy)
        return found

    def _files_of(self, folder: Path) -> list[Path]:
        inside = sorted((*folder.glob("[!.]*"), *folder.glob("[!.]*/[!.]*"))) if self.files else []
        return [file for file in inside if file.suffix.lower() in self.files and file.is_file() and self.recognise(file)]

    def _loaded(self, name: str) -> Callable:
        return getattr(import_module(f"mango.data.formats.{self.module}"), name)


FORMATS = {
    format.name: format
    for format in (  # the first that recognises a source reads it
        Format("dualtalk-arkit", "DualTalk-ARKit: lists of dialogues in metadata/, weights in ARKit_npy/", "dualtalk_arkit"),
        Format("dualtalk", "DualTalk: speaker1/speaker2 pairs of npz and float32 wav, or a predicted .npy (T, 56)", "dualtalk"),
        Format("seamless", "Seamless Interaction: V.._S.._I.._P.. films, voices and features", "seamless"),
        Format("vhap", "VHAP / GaussianAvatars: a folder with flame_param/, or an npz of all frames", "vhap"),
        Format("diffposetalk", "DiffPoseTalk: npz of shape, exp and pose", "diffposetalk"),
        Format("diffposetalk-lmdb", "DiffPoseTalk: an LMDB of pickled segments with sound", "diffposetalk_lmdb"),
        Format("deca", "DECA / EMOCA: npz or pickle of codes, or a folder of one per frame", "deca"),
        Format("smirk", "SMIRK: npz or pickle of parameters, or a folder of one per frame", "smirk"),
        Format("metrical-tracker", "metrical-tracker: a folder of .frame files", "metrical_tracker"),
        Format("gagavatar-track", "GAGAvatar_track: a pickle of codes by frame", "gagavatar_track", (".pkl",)),
        Format("unils", "UniLS / ARTalk: an LMDB of sound and motion codes", "unils"),
        Format("artalk", "ARTalk / UniLS: a .pt of motion codes (T, 106, 108 or 112)", "artalk", (".pt", ".pth")),
        Format("lam-json", "LAM: JSON of ARKit weights", "lam_json", (".json",)),
        Format("livelink-csv", "Live Link Face: CSV of 61 columns", "livelink_csv", (".csv",)),
        Format("a2f-csv", "NVIDIA Audio2Face: CSV of blendShapes.* columns", "a2f_csv", (".csv",)),
        Format("arkit-npy", "ARKit weights and angles without names: .npy (T, 52 or 61)", "arkit_npy", (".npy",)),
        Format("arkit-npz", "ARKit weights with their names: .npz of names, weights, fps", "arkit_npz", (".npz",)),
        Format("stereo", "one stereo sound file: a person per channel", "stereo"),
        Format("plain", "films or voices: a file, or a folder with one or two of each recording", "plain"),
    )
}


def format_named(name: str) -> Format:
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name, FORMATS, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FORMATS)}"
    raise InputError("--format", expected="the name of a format", found=repr(name), remedy=remedy)


def recognised(path: Path) -> tuple[Format, str] | None:
    """The format that a source is of, and how one can see it."""
    for format in FORMATS.values():
        words = format.recognise(path)
        if words:
            return format, words
    return None


def load(entry: Entry) -> Recording:
    """One recording. Errors: InputError for everything that a source can get wrong."""
    with refusing(entry.id, "a recording"):
        return entry.load()
