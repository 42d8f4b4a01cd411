"""A conversation spoken: two tracks of sound on one clock, with phones, words, phrases, pitch and energy known exactly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.phones import SILENCE
from mango.data.synthetic.conversation import Conversation, Ending, Phrase
from mango.data.synthetic.formants import LEVEL, TRACK_RATE, Utterance, spoken
from mango.data.synthetic.recording import recorded
from mango.data.synthetic.voices import Voice, voice
from mango.types import FRAME_RATE, SAMPLE_RATE, Phone

__all__ = ["Speech", "SpokenPhrase", "SpokenWord", "Voice", "speak", "voice"]

Engine = Callable[[Phrase, Voice, np.random.Generator], Utterance]
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
TICKS_PER_FRAME = TRACK_RATE // FRAME_RATE
MARGIN_SECONDS = 0.15  # between two phrases of one person, and before the end of the recording


@dataclass(frozen=True)
class SpokenWord:
    text: str
    start: float  # s
    end: float


@dataclass(frozen=True)
class SpokenPhrase:
    text: str
    start: float  # s, of its first phone
    end: float  # s, of its last phone
    ending: Ending
    backchannel: bool  # said without taking the turn


@dataclass(frozen=True)
class Speech:
    """What one person says. Times are seconds on the dialogue's clock."""

    audio: Float[Tensor, "samples"]  # as recorded, with room and noise
    phones: tuple[Phone, ...]  # from 0 to the end without gaps
    words: tuple[SpokenWord, ...]
    phrases: tuple[SpokenPhrase, ...]
    f0: Float[Tensor, "time"]  # Hz, mean over the frame's voiced part, 0 = unvoiced
    energy: Float[Tensor, "time"]  # root mean square of the clean voice, 1 = a stressed vowel

    def muted(self) -> "Speech":
        """As long, and nothing is said."""
        silence = Phone(SILENCE, self.phones[0].start, self.phones[-1].end, 0.0)
        nothing = {name: torch.zeros_like(getattr(self, name)) for name in ("audio", "f0", "energy")}
        return replace(self, **nothing, phones=(silence,), words=(), phrases=())

    @property
    def speaking(self) -> Float[Tensor, "time"]:
        """True speaking: 1 in frames whose middle lies in a phrase."""
        middle = (torch.arange(self.f0.shape[0]) + 0.5) / FRAME_RATE
        spans = [(middle >= phrase.start) & (middle < phrase.end) for phrase in self.phrases]
        return torch.stack(spans).any(dim=0).float() if spans else torch.zeros_like(middle)


def speak(
    conversation: Conversation,
    seed: int,
    engine: Literal["formant", "espeak"] = "formant",
    *,
    voices: Mapping[str, Voice] | None = None,
    clean: bool = False,
) -> dict[str, Speech]:
    """Both people's speech over exactly the conversation's whole frames. ``clean`` leaves room, cross-talk and microphone out."""
    voices = voices or {person: voice(2 * seed + index) for index, person in enumerate("ab")}
    frames = int(conversation.seconds * FRAME_RATE + 1e-6)
    tracks = {person: _Track(frames) for person in "ab"}
    say, position = _engine(engine), 0

    def utterance(person: str, phrase: Phrase) -> Utterance:
        nonlocal position
        position += 1
        return say(phrase, voices[person], np.random.default_rng([seed, position, 0x5AE]))

    turn_end = 0.0
    for turn in conversation.turns:
        other = "b" if turn.person == "a" else "a"
        now = turn_end + turn.gap
        for index, phrase in enumerate(turn.phrases):
            end = tracks[turn.person].say(utterance(turn.person, phrase), phrase, now, backchannel=False)
            if end is None:
                return _finished(tracks, seed, clean)
            for backchannel in (b for b in turn.backchannels if b.after_phrase == index):
                tracks[other].say(utterance(other, backchannel.phrase), backchannel.phrase, end + backchannel.lag, backchannel=True)
            now, turn_end = end + phrase.pause, end
    return _finished(tracks, seed, clean)


def _engine(name: str) -> Engine:
    if name == "espeak":
        from mango.data.synthetic.espeak import Espeak

        return Espeak().spoken
    if name == "formant":
        return spoken
    raise AssertionError(f"no speech engine {name!r}")


class _Track:
    """One person's clean voice being laid out on the dialogue's clock."""

    def __init__(self, frames: int):
        self.frames = frames
        self.audio = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
        self.f0 = np.zeros(frames * TICKS_PER_FRAME, np.float32)
        self.phones: list[Phone] = []
        self.words: list[SpokenWord] = []
        self.phrases: list[SpokenPhrase] = []

    def say(self, utterance: Utterance, phrase: Phrase, at: float, *, backchannel: bool) -> float | None:
        """Puts it where its first phone starts at ``at``, or as soon as this person is free; its end, or None if time is up."""
        voiced = [phone for phone in utterance.phones if phone.symbol != SILENCE]
        begin = voiced[0].start
        free = self.phrases[-1].end + MARGIN_SECONDS if self.phrases else MARGIN_SECONDS
        tick = round((max(at, free) - begin) * TRACK_RATE)
        start = tick / TRACK_RATE
        if start + utterance.phones[-1].end > self.frames / FRAME_RATE - MARGIN_SECONDS or tick < 0:
            return None
        sample = tick * SAMPLE_RATE // TRACK_RATE
        self.audio[sample : sample + len(utterance.audio)] += utterance.audio
        f0 = pitch(utterance.audio) if utterance.f0 is None else utterance.f0
        self.f0[tick : tick + len(f0)] = f0
        self.phones += [Phone(p.symbol, p.start + start, p.end + start, p.stress) for p in voiced]
        self.words += [SpokenWord(text, first + start, last + start) for text, first, last in utterance.words]
        self.phrases.append(SpokenPhrase(phrase.text, begin + start, voiced[-1].end + start, phrase.ending, backchannel))
        return voiced[-1].end + start

    def speech(self, audio: Float[np.ndarray, "samples"]) -> Speech:
        ticks = torch.from_numpy(self.f0).reshape(self.frames, TICKS_PER_FRAME)
        power = torch.from_numpy(self.audio).reshape(self.frames, SAMPLES_PER_FRAME).square().mean(dim=1)
        return Speech(
            audio=torch.from_numpy(audio),
            phones=_without_gaps(self.phones, self.frames / FRAME_RATE),
            words=tuple(self.words),
            phrases=tuple(self.phrases),
            f0=ticks.sum(dim=1) / (ticks > 0).sum(dim=1).clamp(min=1),
            energy=power.sqrt() / LEVEL,
        )


def _finished(tracks: Mapping[str, _Track], seed: int, clean: bool) -> dict[str, Speech]:
    voices = {person: track.audio for person, track in tracks.items()}
    heard = voices if clean else recorded(voices, seed)
    return {person: track.speech(heard[person]) for person, track in tracks.items()}


def _without_gaps(phones: list[Phone], seconds: float) -> tuple[Phone, ...]:
    """With silence from 0 to the end wherever nothing is said."""
    filled, now = [], 0.0
    for phone in phones:
        if phone.start > now + 1e-6:
            filled.append(Phone(SILENCE, now, phone.start))
        filled.append(phone)
        now = phone.end
    if seconds > now + 1e-6:
        filled.append(Phone(SILENCE, now, seconds))
    return tuple(filled)


def pitch(audio: Float[np.ndarray, "samples"]) -> Float[np.ndarray, "ticks"]:
    """Pitch of clean speech in Hz at 1 kHz by normalised autocorrelation (40 ms windows, 60 to 400 Hz), 0 where unvoiced."""
    window, hop = 640, 160
    padded = np.pad(audio, (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(audio) : hop]
    spectrum = np.fft.rfft(frames * np.hanning(window), 2 * window, axis=1)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :window]
    correlation /= np.fft.irfft(np.abs(np.fft.rfft(np.hanning(window), 2 * window)) ** 2)[:window] + 1e-9
    shortest, longest = SAMPLE_RATE // 400, SAMPLE_RATE // 60
    lag = shortest + correlation[:, shortest:longest].argmax(axis=1)
    clear = np.take_along_axis(correlation, lag[:, None], 1)[:, 0] / (correlation[:, 0] + 1e-9)
    voiced = (clear > 0.5) & (frames.std(axis=1) > 0.05 * LEVEL)
    hops = np.where(voiced, SAMPLE_RATE / lag, 0)
    return np.repeat(hops, hop * TRACK_RATE // SAMPLE_RATE)[: len(audio) * TRACK_RATE // SAMPLE_RATE].astype(np.float32)
