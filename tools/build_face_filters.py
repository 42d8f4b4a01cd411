"""Filters that find faces and their points without networks: ``python tools/build_face_filters.py FOLDER`` writes
mango/tracking/assets/face_filters.npz.

Maintainers only, some minutes; pictures are kept in FOLDER, so that the same command goes on. Everything is learned from made-up people,
whose points are known exactly; no picture of anybody who lives is used. What is no face are noise, heaps of discs and boxes, and faces
upside down or looked for in the wrong place.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from build_face_points import grimaces

from mango.data.synthetic.people import TruePerson, true_person
from mango.data.synthetic.pictures import Shooting, cameras, filmed
from mango.head.model import Head, load_head
from mango.tracking.detection import square_about
from mango.tracking.face_filters import (
    ANCHORS,
    CELL,
    CROP_PX,
    DIRECTIONS,
    LEARNT,
    MOUTH_ANCHORS,
    MOUTH_REACH,
    POINTS,
    REACH,
    WINDOW,
    Correction,
    cropped,
    described,
    into_crop,
    placed,
    window_cells,
)
from mango.tracking.face_points import places_on
from mango.types import MotionClip

PEOPLE, EACH, FIRST_SEED, PIECE = 320, 12, 930_000, 40  # people that no set has, pictures of each; drawn in pieces
HELD_OUT = 0.1  # of the pictures: by them the strength of regularization is chosen
MOUTHS = {"mouthSmile": 0.9, "mouthUpperUp": 0.6, "mouthLowerDown": 0.7, "mouthStretch": 0.5, "mouthFunnel": 0.5, "mouthPucker": 0.5}
PX = 160  # of a picture
KINDS = 40  # ways in which points are corrected together
MOUTH_KINDS, ABOUT_THE_MOUTH = 16, (0.155, 0.124)  # the same of the mouth; half axes about it, of the square's side
TIMES = 2  # every picture is used, each time in another light, turn and place
RIDGES = (30.0, 100.0, 300.0)  # strengths to try
AWAY = (0.05, 0.10, 0.10)  # where corrections begin: shift (of the square), logarithm of size, turn in radians; standard deviations
GOOD, BAD = 0.04, 0.15  # mean error of the points, of the face's size: what is a face found, and what is none
EMPTY = 1500  # pictures without a face
SHARP = 8.0  # logit of a face that is like the made-up ones
LENIENT = 0.15  # of what lies between such a face and none, 2: living faces are less like the made-up ones than these are like each other


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pictures, points = all_drawn(folder)
    rng = np.random.default_rng(0)
    upright = np.stack([placed(of - square_about(of)[0], np.zeros(2), 1 / square_about(of)[1], -square_about(of)[2]) for of in points])
    mean = upright.mean(0)
    basis = ways_to_be_off(mean, upright, rng)
    shown = [varied(picture, of, rng) for picture, of in zip(pictures, points, strict=True) for _ in range(TIMES)]
    seen, true = [picture for picture, _ in shown], np.stack([of for _, of in shown])
    held = np.arange(len(seen)) >= (1 - HELD_OUT) * len(seen)
    found = np.stack([begun(mean, of, rng) for of in true])
    print(f"{len(seen)} pictures; points begin {100 * np.mean(misses(found, true)):.1f} % of the face's size away")
    face = []
    for reach in REACH:
        face.append(learned_correction(seen, found, true, basis, ANCHORS, reach, held))
        found = np.stack([face[-1](picture, of) for picture, of in zip(seen, found, strict=True)])
        off = misses(found, true)
        print(f"face, reach {reach}: {100 * np.mean(off[~held]):.2f} %, of people held out {100 * np.mean(off[held]):.2f} %", flush=True)
    nothing = [no_face(pictures, points, rng) for _ in range(EMPTY)]
    judge = learned_judge(seen, found, true, nothing, mean, face, rng)
    window = learned_window(seen, true, nothing, rng)
    mouth, near, mouth_basis, spread = [], *ways_of_the_mouth(mean, upright)
    found = np.stack([with_another_mouth(of, mouth_basis, spread, rng) for of in true])
    for reach in MOUTH_REACH:
        mouth.append(learned_correction(seen, found, true, mouth_basis, MOUTH_ANCHORS, reach, held))
        found = np.stack([mouth[-1](picture, of) for picture, of in zip(seen, found, strict=True)])
        off = np.linalg.norm(found - true, axis=-1)[:, near].mean(1) / np.ptp(true, axis=1).max(1)
        print(f"mouth, reach {reach}: {100 * np.mean(off[~held]):.2f} %, of people held out {100 * np.mean(off[held]):.2f} %", flush=True)
    LEARNT.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        LEARNT, mean=mean.astype(np.float32), judge=judge.astype(np.float32), window=window.astype(np.float32),
        **packed("face", face), **packed("mouth", mouth),
    )  # fmt: skip
    print(f"wrote {LEARNT}, {LEARNT.stat().st_size / 1024:.0f} kB")


def packed(part: str, corrections: list[Correction]) -> dict[str, np.ndarray]:
    whole = np.stack([correction.weights for correction in corrections])
    scales = np.abs(whole).max(1, keepdims=True) / 127  # a byte each
    return {
        f"{part}_basis": corrections[0].basis.astype(np.float16),
        f"{part}_weights": np.rint(whole / scales).astype(np.int8),
        f"{part}_scales": scales.astype(np.float32),
    }


def all_drawn(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, and the 468 points in them as OpenCV counts pixels."""
    head, pieces = load_head(), []
    for first in range(0, PEOPLE, PIECE):
        path = folder / f"people_{first}.npz"
        if not path.exists():
            drawn = [each for number in range(first, first + PIECE) for each in pictures_of_one(head, FIRST_SEED + number)]
            np.savez(path, pictures=np.stack([picture for picture, _ in drawn]), points=np.stack([of for _, of in drawn]))
            print(f"drew {path.name}", flush=True)
        with np.load(path) as piece:
            pieces.append((piece["pictures"], piece["points"]))
    return np.concatenate([pictures for pictures, _ in pieces]), np.concatenate([points for _, points in pieces])


def pictures_of_one(head: Head, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """From as near as a phone is held to as far as a studio's camera stands."""
    places, person = places_on(head, POINTS), made_up(head, true_person(head, seed), seed)
    far = np.random.default_rng(seed).uniform(0.4, 1.3)  # metres
    wide = float(np.degrees(2 * np.arctan(0.163 / far)))
    shooting = Shooting(size_px=PX, distance_m=far, field_of_view_degrees=wide, view_degrees=(20.0, 14.0), noise=0.004)
    camera, clip = cameras(shooting, seed)[1], talking(head, grimaces(head, person, seed).frames(slice(EACH)), seed)
    with torch.inference_mode():
        surface = (person.vertices(head, clip)[:, head.faces[places.faces]] * places.barycentrics[..., None]).sum(-2)
        pixels = (surface @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]) @ camera.intrinsics.T
    points = (pixels[..., :2] / pixels[..., 2:]).numpy().astype(np.float64) - 0.5
    for (picture, _), of in zip(filmed(person, head, clip, camera, shooting, seed), points, strict=True):
        yield picture, of


def made_up(head: Head, person: TruePerson, seed: int) -> TruePerson:
    """Whiter teeth and other lips: those of made-up people are more alike than real ones."""
    rng, albedo = np.random.default_rng([seed, 2]), person.albedo.clone()
    for region, least, most in (("teeth", 1.0, 2.2), ("lips", 0.6, 1.1)):
        of_region = torch.isin(person.triangles, head.region(region)).all(1)
        albedo[of_region] = (albedo[of_region] * float(rng.uniform(least, most))).clamp(0, 1)
    return replace(person, albedo=albedo)


def talking(head: Head, clip: MotionClip, seed: int) -> MotionClip:
    """In two of three pictures lips as they part over teeth when people speak and smile: the mouth is what matters most."""
    rng, expr, jaw, names = np.random.default_rng([seed, 1]), clip.expr.clone(), clip.jaw_pose.clone(), list(head.expression_names)
    for frame in np.flatnonzero(rng.random(len(clip)) < 2 / 3):
        jaw[frame, 0] = rng.choice([0.0, rng.uniform(0.0, 0.3)], p=[0.2, 0.8])
        for pair, most in MOUTHS.items():
            weight = most * rng.random() * (rng.random() < 0.6)
            for k, name in enumerate(names):
                if name in (pair, f"{pair}Left", f"{pair}Right"):
                    expr[frame, k] = weight
    return replace(clip, expr=expr, jaw_pose=jaw)


def ways_to_be_off(mean: np.ndarray, upright: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An orthonormal basis of how faces differ, and of how a square about a face may be wrong."""
    differ = (upright - mean).reshape(len(upright), -1)
    elsewhere = [(placed(mean, *shifted) - mean).ravel() for shifted in (away(rng) for _ in range(len(upright) // 3))]
    return np.linalg.svd(np.concatenate([differ, elsewhere]), full_matrices=False)[2][:KINDS]


def ways_of_the_mouth(mean: np.ndarray, upright: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points lie about the mouth, how they differ together, and by how much."""
    near = np.flatnonzero(np.linalg.norm((mean - mean[list(MOUTH_ANCHORS[:4])].mean(0)) / ABOUT_THE_MOUTH, axis=1) < 1)
    differ = (upright[:, near] - mean[near]).reshape(len(upright), -1)
    _, sizes, ways = np.linalg.svd(differ, full_matrices=False)
    basis = np.zeros((MOUTH_KINDS, POINTS, 2))
    basis[:, near] = ways[:MOUTH_KINDS].reshape(MOUTH_KINDS, -1, 2)
    return near, basis.reshape(MOUTH_KINDS, -1), sizes[:MOUTH_KINDS] / np.sqrt(len(upright))


def with_another_mouth(points: np.ndarray, basis: np.ndarray, spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A face that was found nearly, and whose mouth was not."""
    centre, side, roll = square_about(points)
    wrong = points + placed((0.5 * rng.normal(0, spread) @ basis).reshape(POINTS, 2), np.zeros(2), side, roll)
    return placed(wrong - centre, centre + rng.normal(0, 0.008, 2) * side, float(np.exp(rng.normal(0, 0.02))), float(rng.normal(0, 0.02)))


def away(rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    return rng.normal(0, AWAY[0], 2), float(np.exp(rng.normal(0, AWAY[1]))), float(rng.normal(0, AWAY[2]))


def begun(mean: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean face near where the face is; every other one upright, as a window finds it."""
    (centre, side, roll), (shift, times, turn) = square_about(points), away(rng)
    return placed(mean, centre + shift * side, side * times, roll * int(rng.integers(2)) + turn)


def varied(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Another light, sharpness, noise and turn."""
    turn = cv2.getRotationMatrix2D((PX / 2 - 0.5, PX / 2 - 0.5), float(np.degrees(rng.normal(0, 0.15))), 1.0)
    shown = cv2.warpAffine(picture, turn, (PX, PX), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    if rng.random() < 0.5:
        shown = cv2.GaussianBlur(shown, (0, 0), rng.uniform(0.3, 1.2))
    shown = 255 * (shown / 255) ** np.exp(rng.normal(0, 0.25)) * rng.uniform(0.6, 1.2)
    shown = shown + rng.normal(0, rng.uniform(0, 6), shown.shape)
    return np.clip(shown, 0, 255).astype(np.uint8), points @ turn[:, :2].T + turn[:, 2]


def misses(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.linalg.norm(found - true, axis=-1).mean(1) / np.ptp(true, axis=1).max(1)


def learned_correction(seen, found, true, basis, anchors, reach: int, held) -> Correction:
    features = np.empty((len(seen), 9 * DIRECTIONS * len(anchors) + 1), np.float32)
    wanted = np.empty((len(seen), len(basis)))
    for number, (picture, of) in enumerate(zip(seen, found, strict=True)):
        crop, into = cropped(picture, of)
        inside = into_crop(of, into)
        features[number] = described(crop, inside, anchors, reach)
        wanted[number] = basis @ ((into_crop(true[number], into) - inside) / CROP_PX).ravel()
    return Correction(anchors, reach, ridge(features, wanted, held), basis)


def learned_judge(seen, found, true, nothing, mean, corrections, rng) -> np.ndarray:
    """Whether corrections ended on a face. Beside what is no face at all: the same pictures, begun in the wrong place."""
    features, labels = [], []
    for picture, of, miss in zip(seen, found, misses(found, true), strict=True):
        if miss < GOOD:
            features.append(judged(picture, of))
            labels.append(1.0)
    lost = []
    for picture, of in zip(seen[::2], true[::2], strict=True):
        side = square_about(of)[1]
        lost.append((picture, placed(mean, rng.uniform(0, PX, 2), side * np.exp(rng.normal(0, 0.5)), float(rng.normal(0, 0.2))), of))
    for picture in nothing:
        for _ in range(2):
            size = PX * np.exp(rng.uniform(np.log(0.25), np.log(1.2)))
            lost.append((picture, placed(mean, rng.uniform(0.2, 0.8, 2) * PX, size, float(rng.normal(0, 0.2))), None))
    for picture, of, face in lost:
        for correct in corrections:
            of = correct(picture, of)
        if face is None or misses(of[None], face[None])[0] > BAD:
            features.append(judged(picture, of))
            labels.append(-1.0)
    features, labels = np.stack(features), np.array(labels)
    order = rng.permutation(len(labels))
    features, labels = features[order], labels[order]
    apart = np.arange(len(labels)) >= (1 - HELD_OUT) * len(labels)
    balance = np.sqrt(np.where(labels > 0, 0.5 / (labels > 0).mean(), 0.5 / (labels < 0).mean())).astype(np.float32)[:, None]
    judge = ridge(features * balance, labels[:, None] * balance, apart)[:, 0]
    score = features @ judge
    yes, no = score[apart & (labels > 0)], score[apart & (labels < 0)]
    print(f"judge, held out: faces {np.quantile(yes, [0.01, 0.5])}, others {np.quantile(no, [0.5, 0.99])}; {len(labels)} of them")
    judge[-1] += LENIENT
    return SHARP * judge


def judged(picture, points) -> np.ndarray:
    crop, into = cropped(picture, points)
    return described(crop, into_crop(points, into), ANCHORS, REACH[-1])


def learned_window(seen, true, nothing, rng) -> np.ndarray:
    """One linear filter over the cells of a square."""
    features, labels = [], []
    for picture, of in zip(seen, true, strict=True):
        centre, extent, _ = square_about(of)
        for wanted in (True, False):
            middle, size = (centre + rng.normal(0, 0.03, 2) * extent, extent * np.exp(rng.normal(0, 0.06))) if wanted else (
                rng.uniform(0, PX, 2), extent * np.exp(rng.normal(0, 0.5)))  # fmt: skip
            if not wanted and np.linalg.norm(middle - centre) < 0.3 * extent and 0.7 < size / extent < 1.4:
                continue
            features.append(window_at(picture, middle, size))
            labels.append(1.0 if wanted else -1.0)
    for picture in nothing:
        for _ in range(4):
            features.append(window_at(picture, rng.uniform(0.2, 0.8, 2) * PX, PX * np.exp(rng.uniform(np.log(0.25), np.log(1.2)))))
            labels.append(-1.0)
    features, labels = np.stack(features), np.array(labels)
    order = rng.permutation(len(labels))
    features, labels = features[order], labels[order]
    apart = np.arange(len(labels)) >= (1 - HELD_OUT) * len(labels)
    window = ridge(features, labels[:, None], apart)[:, 0]
    score = features[apart] @ window
    print(
        f"window: faces {np.quantile(score[labels[apart] > 0], [0.02, 0.5])}, others {np.quantile(score[labels[apart] < 0], [0.5, 0.98])}"
    )
    return window[:-1].reshape(DIRECTIONS, WINDOW, WINDOW)  # where the picture is best needs no constant


def window_at(picture, middle, size) -> np.ndarray:
    """As `FaceFilters.windows` sees it: contrast is evened out over the window, so its surroundings count."""
    side = 3 * WINDOW * CELL  # with a window's width about it
    scale = size / (WINDOW * CELL)
    into = np.array([[scale, 0, middle[0] - scale * side / 2 + scale / 2], [0, scale, middle[1] - scale * side / 2 + scale / 2]])
    shown = cv2.warpAffine(cv2.GaussianBlur(picture, (0, 0), max(0.3, 0.4 * scale)), into, (side, side),
                           flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    cells = window_cells(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY).astype(np.float32))
    return np.append(cells[:, WINDOW:-WINDOW, WINDOW:-WINDOW].ravel(), 1).astype(np.float32)


def no_face(pictures, points, rng) -> np.ndarray:
    """Noise of some colour, a heap of discs or boxes, or a face upside down."""
    kind = rng.integers(4)
    if kind == 0:
        return pictures[rng.integers(len(pictures))][::-1].copy()
    if kind == 1:
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(PX), np.fft.fftfreq(PX))) + 1 / PX
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, PX, PX))) / frequency ** rng.uniform(0.5, 2)).real
        noise = noise.mean(0) + 0.3 * (noise - noise.mean(0))
        return np.clip(128 + rng.uniform(20, 70) * noise / noise.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
    heap = np.full((PX, PX, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(int(rng.integers(5, 150))):
        x, y, size, colour = *rng.integers(0, PX, 2).tolist(), int(PX * rng.uniform(0.02, 0.3)), rng.integers(0, 256, 3).tolist()
        if kind == 2:
            cv2.ellipse(
                heap, (x, y), (size, int(size * rng.uniform(0.3, 1)) + 1), float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA
            )
        else:
            cv2.rectangle(heap, (x, y), (x + size, y + int(size * rng.uniform(0.2, 3))), colour, -1)
    return heap


def ridge(features: np.ndarray, wanted: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Least squares, regularized so that what was held out is met best."""
    learnt = features[~held]
    normal, right = (learnt.T @ learnt).astype(np.float64), learnt.T.astype(np.float64) @ wanted[~held]
    tried = [np.linalg.solve(normal + strength * np.eye(len(normal)), right) for strength in RIDGES]
    return min(tried, key=lambda each: float(((features[held] @ each - wanted[held]) ** 2).sum()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    main(Path(sys.argv[1]))
