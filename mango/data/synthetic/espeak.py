"""Speech from eSpeak NG (optional package espeakng-loader, GPL-3), phones with times from its own events."""

import ctypes
import os
import shutil
import tempfile
import weakref
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mango.data.phones import SILENCE
from mango.data.synthetic.conversation import Phrase
from mango.data.synthetic.formants import LEVEL, Utterance
from mango.data.synthetic.lexicon import lines
from mango.data.synthetic.phones import RECIPES
from mango.data.synthetic.voices import Voice
from mango.errors import InputError
from mango.types import SAMPLE_RATE, Phone

# eSpeak's names of the phonemes of its English voices, and the ARPAbet phones they are.
PHONEMES = """
a AE|aa AE|A: AA|A@ AA R|A~ AA|A# AA|O: AO|O@ AO R|o@ AO R|O AO|0 AA|0# AH|V AH|@ AH|@2 AH|@5 AH|a# AH|@L AH L|@- AH
3 ER|3: ER|IR ER|VR ER|E EH|E2 IH|e@ EH R|I IH|I2 IH|I# IH|i IY|i: IY|i@ IY AH|i@3 IY R|U UH|u UW|u: UW|U@ UH R|eI EY
aI AY|aI@ AY AH|aI3 AY ER|OI OY|aU AW|aU@ AW ER|oU OW|oU# OW|p P|b B|t T|t# T|t2 T|d D|d# D|k K|g G|tS CH|dZ JH|f F|v V
T TH|D DH|s S|z Z|z# Z|S SH|Z ZH|h HH|m M|m- M|n N|n- N|N NG|l L|l# L|L L|r R|r- R|w W|w# W HH|j Y|x HH|? sil|_ sil
_: sil|_! sil|; sil|O2 AO
"""
ARPABET = dict(entry.split(maxsplit=1) for entry in lines(PHONEMES))
END, WORD, PHONEME = 0, 1, 7  # kinds of events
SYNCHRONOUS, REPORT_PHONEMES = 2, 1
RATE, PITCH, PITCH_RANGE = 1, 3, 4  # parameters
UTF8 = 1


class _Event(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


class _Report(NamedTuple):
    kind: int
    seconds: float
    name: str  # of a phoneme
    letter: int  # of the text


_Receiver = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """eSpeak NG in a state of its own.

    The library carries the phases of its oscillators from phrase to phrase and offers no way to reset them, so that a dialogue
    would depend on what was said before it in the same process. Hence a copy of the library for each dialogue.
    """

    def __init__(self) -> None:
        path, data = _installed()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            self.library = ctypes.CDLL(shutil.copy(path, folder))
        weakref.finalize(self, _unload, self.library)
        self.library.espeak_Synth.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        )
        self.library.espeak_ng_SetRandSeed.argtypes = (ctypes.c_long,)
        self.rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), REPORT_PHONEMES)
        if self.rate <= 0:
            raise InputError("speech engine espeak", expected="eSpeak NG to start", found=f"its error {self.rate}",
                             remedy="reinstall espeakng-loader, or use the engine formant")  # fmt: skip

    def spoken(self, phrase: Phrase, voice: Voice, rng: np.random.Generator) -> Utterance:
        """The phrase in one of eSpeak's English voices, at 16 kHz. Its pitch is for ``speech.pitch`` to find."""
        variant = f"f{1 + voice.seed % 4}" if voice.formant_scale > 1.06 else f"m{1 + voice.seed % 7}"
        usual_hz = 190 if variant[0] == "f" else 110
        self.library.espeak_SetVoiceByName(f"en-us+{variant}".encode())
        self.library.espeak_SetParameter(RATE, int(165 * voice.rate * rng.uniform(0.95, 1.05)), 0)
        self.library.espeak_SetParameter(PITCH, int(np.clip(50 + 20 * np.log2(voice.f0_hz / usual_hz), 10, 90)), 0)
        self.library.espeak_SetParameter(PITCH_RANGE, int(np.clip(50 * voice.pitch_range, 0, 100)), 0)
        self.library.espeak_ng_SetRandSeed(int(rng.integers(2**31)))
        mark = {"fall": ".", "rise": "?", "continue": ","}[phrase.ending]
        sound, events = _synthesized(self.library, phrase.text + mark)
        audio = _at_our_rate(sound, self.rate)
        phones, words = _phones_and_words(phrase.text, events, len(audio) / SAMPLE_RATE)
        return Utterance(audio, phones, words, None)


def _unload(library: ctypes.CDLL) -> None:
    library.espeak_Terminate()
    if os.name == "posix":
        import _ctypes

        _ctypes.dlclose(library._handle)


def _installed() -> tuple[str, str]:
    """Paths of the library and of its data."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise InputError("speech engine espeak", expected="the package espeakng-loader", found="none installed",
                         remedy="run `pip install 'mango-heads[speech]'`, or use the engine formant") from error  # fmt: skip
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def _synthesized(library: ctypes.CDLL, text: str) -> tuple[Float[np.ndarray, "samples"], list[_Report]]:
    blocks: list[np.ndarray] = []
    reports: list[_Report] = []

    def receive(samples, count, event) -> int:
        if samples and count:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while event[index].kind != END:
            one = event[index]
            name = one.name.decode("utf-8", "replace") if one.kind == PHONEME else ""
            reports.append(_Report(one.kind, one.milliseconds / 1000, name, one.text_position - 1))
            index += 1
        return 0

    receiver = _Receiver(receive)  # must outlive the call
    library.espeak_SetSynthCallback(receiver)
    line = text.encode()
    library.espeak_Synth(line, len(line) + 1, 0, 1, 0, UTF8, None, None)
    library.espeak_Synchronize()
    return np.concatenate([*blocks, np.zeros(0, np.int16)]).astype(np.float32) / 32768, reports


def _at_our_rate(sound: Float[np.ndarray, "samples"], rate: int) -> Float[np.ndarray, "_"]:
    from scipy.signal import resample_poly

    audio = resample_poly(sound, SAMPLE_RATE, rate) if rate != SAMPLE_RATE else sound
    loud = np.sqrt(np.mean(np.square(audio[np.abs(audio) > 0.1 * np.abs(audio).max()])))
    return (audio * (LEVEL / loud)).astype(np.float32)


def _phones_and_words(text: str, events: list[_Report], seconds: float) -> tuple[tuple[Phone, ...], tuple[tuple[str, float, float], ...]]:
    named = [(event.seconds, event.name) for event in events if event.kind == PHONEME]
    phones: list[Phone] = []
    for (start, name), (end, _) in zip(named, [*named[1:], (seconds, "")], strict=True):
        phones += _split(name, start, min(end, seconds))
    phones = _with_closures(phones)
    if not phones or phones[0].symbol != SILENCE:
        begin = phones[0].start if phones else seconds
        phones.insert(0, Phone(SILENCE, 0.0, begin))
    finish = max((phone.end for phone in phones if phone.symbol != SILENCE), default=seconds)
    starts = [event for event in events if event.kind == WORD]  # it says some pairs as one word ("at a")
    ends = [*((event.seconds, event.letter) for event in starts[1:]), (finish, None)]
    words = tuple((text[first.letter : letter].strip(), first.seconds, end) for first, (end, letter) in zip(starts, ends, strict=True))
    return (*phones, Phone(SILENCE, phones[-1].end, seconds + 0.05)), words


CLOSURE_SECONDS, BURST_SECONDS = 0.045, 0.015


def _with_closures(phones: list[Phone]) -> list[Phone]:
    """Moves voiceless stops to where their closure is: eSpeak reports them at the burst, which here ends the phone."""
    moved = list(phones)
    for index in range(1, len(phones)):
        before, stop = moved[index - 1], phones[index]
        if stop.symbol not in ("P", "T", "K"):
            continue
        start = max(stop.start - CLOSURE_SECONDS, 0.5 * (before.start + before.end))
        end = min(stop.start + BURST_SECONDS, stop.end) if index + 1 < len(phones) else stop.end
        moved[index - 1] = replace(before, end=start)
        moved[index] = replace(stop, start=start, end=end)
        if index + 1 < len(phones):
            moved[index + 1] = replace(phones[index + 1], start=end)
    return moved


def _split(name: str, start: float, end: float) -> list[Phone]:
    """One phoneme of eSpeak's as one or two phones; ' and , before it are primary and secondary stress."""
    stress = 1.0 if name.startswith("'") else 0.5 if name.startswith(",") else 0.0
    symbols = ARPABET.get(name.lstrip("',%=|"), _nearest(name)).split()
    times = np.linspace(start, end, len(symbols) + 1) if len(symbols) != 2 else np.array([start, 0.4 * start + 0.6 * end, end])
    spans = zip(symbols, times, times[1:], strict=False)
    return [Phone(s, float(a), float(b), stress if RECIPES[s].kind == "vowel" else 0.0) for s, a, b in spans if b > a]


def _nearest(name: str) -> str:
    """For a variant that the table does not list: the longest listed beginning."""
    bare = name.lstrip("',%=|")
    return next((ARPABET[bare[:k]] for k in range(len(bare), 0, -1) if bare[:k] in ARPABET), "AH")
