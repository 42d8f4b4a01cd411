"""Files of other people's formats as their own programs lay them out, written here with numpy, struct, json, pickle, torch and lmdb alone:
never with the project's writers, so that a reader and a writer cannot agree on the same mistake.
"""

import csv
import json
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FRAMES = 50
APPLE = [
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    "jawForward",
    "jawRight",
    "jawLeft",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthRight",
    "mouthLeft",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
]
ANGLES = [f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")]


@dataclass(frozen=True)
class Face:
    """A person's motion, what FLAME's trackers give of it, and a voice that is loud when the mouth is open."""

    expr: np.ndarray  # (T, 100), the first 50 of it other than zero
    head: np.ndarray  # (T, 3)
    jaw: np.ndarray  # (T, 3)
    eyes: np.ndarray  # (T, 6)
    shape: np.ndarray  # (300,)
    weights: dict[str, np.ndarray]  # ARKit, each (T,)
    voice: np.ndarray  # 16 kHz


def face(seed: int, frames: int = FRAMES, fps: int = 25) -> Face:
    draw = np.random.default_rng(seed)

    def smooth(width: int, size: float) -> np.ndarray:
        rough = draw.normal(size=(frames + 8, width))
        even = np.stack([np.convolve(column, np.ones(5) / 5, "valid") for column in rough.T], 1)[:frames]
        return (even / even.std(0) * size).astype(np.float32)

    opening = np.clip(smooth(1, 0.5)[:, 0] + 0.3, 0, None)
    jaw = np.stack([0.01 + 0.2 * opening, *smooth(2, 0.004).T], 1).astype(np.float32)
    gaze = smooth(2, 0.12)
    eyes = np.concatenate([gaze, np.zeros((frames, 1)), gaze * 0.9, np.zeros((frames, 1))], 1).astype(np.float32)
    both = {name.removesuffix("Left"): smooth(1, 0.2)[:, 0] for name in APPLE if name.endswith("Left")}
    weights = {}
    for name in APPLE:
        side = name.removesuffix("Left").removesuffix("Right")
        base = both[side] if side != name and side in both else smooth(1, 0.1)[:, 0]
        weights[name] = np.clip(0.3 + base + 0.03 * smooth(1, 1.0)[:, 0], 0, 1).astype(np.float32)
    weights["jawOpen"] = np.clip(opening / 2, 0, 1).astype(np.float32)
    sideways = smooth(1, 0.3)[:, 0]
    for side, sign in (("Left", 1), ("Right", -1)):  # both eyes to the person's left: out with the left, in with the right
        weights[f"eyeLookOut{side}"] = np.clip(sign * sideways, 0, 1).astype(np.float32)
        weights[f"eyeLookIn{side}"] = np.clip(-sign * sideways, 0, 1).astype(np.float32)
    samples = int(frames / fps * 16_000)
    loud = np.interp(np.arange(samples) / 16_000 * fps, np.arange(frames), opening)
    voice = (draw.normal(size=samples) * (0.001 + 0.15 * loud)).clip(-0.9, 0.9).astype(np.float32)
    expr = np.pad(smooth(50, 0.8), ((0, 0), (0, 50)))
    return Face(expr, smooth(3, 0.12), jaw, eyes, draw.normal(size=300).astype(np.float32), weights, voice)


def wav_float32(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    """Format tag 3, as scipy.io.wavfile writes float32 and Python's `wave` refuses to read."""
    samples = np.atleast_2d(samples.astype("<f4").T).T
    data, channels = samples.tobytes(), samples.shape[1]
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    chunks = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


def dualtalk(root: Path, split: str = "train", faces: tuple[Face, Face] | None = None, swapped_voices: bool = False) -> Path:
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    faces = faces or (face(1), face(2))
    voices = [f.voice for f in (faces[::-1] if swapped_voices else faces)]
    draw, frames = np.random.default_rng(0), len(faces[0].expr)
    for number, (who, voice) in enumerate(zip(faces, voices, strict=True), start=1):
        name = f"abc_sub_video_3_001_speaker{number}"
        wobble = 0.01 * draw.normal(size=(frames, 100))
        np.savez(
            folder / f"{name}.npz", shape=(who.shape[:100] + wobble).astype("f4"), tex=np.zeros((frames, 50), "f4"),
            exp=who.expr[:, :50], pose=np.concatenate([who.head, who.jaw], 1), cam=np.ones((frames, 3), "f4"),
            light=np.zeros((frames, 9, 3), "f4"),
        )  # fmt: skip
        wav_float32(folder / f"{name}.wav", voice)
    return root


def dualtalk_arkit(root: Path, faces: tuple[Face, Face]) -> Path:
    """DualTalk's folder with its weights and lists. Their order has left before right where the phone's has it the other way."""
    import hashlib

    order = APPLE.copy()
    for left, right in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
        first = min(order.index(left), order.index(right))
        order[first : first + 2] = [left, right]
    (root / "metadata").mkdir(parents=True)
    (root / "ARKit_npy" / "ood").mkdir(parents=True)
    (root / "ood").mkdir()
    line: dict[str, object] = {"name": "abc_sub_video_3_001"}
    for speaker, who in zip(("speaker1", "speaker2"), faces, strict=True):
        name = f"ood/{line['name']}_{speaker}"
        angles = np.stack([who.head[:, 1], *[np.zeros(len(who.head))] * 8], 1)  # yaw alone
        motion = root / "ARKit_npy" / f"{name}.npy"
        np.save(motion, np.concatenate([np.stack([who.weights[shape] for shape in order], 1), angles], 1).astype("f4"))
        wav_float32(root / f"{name}.wav", who.voice)
        line |= {
            f"{speaker}_text": None, f"{speaker}_audio": f"{name}.wav", f"{speaker}_flame": f"{name}.npz",
            f"{speaker}_arkit": f"{name}.npy", f"{speaker}_arkit_sha256": hashlib.sha256(motion.read_bytes()).hexdigest(),
            f"{speaker}_frames": len(who.head), f"{speaker}_smoothed": True, f"{speaker}_head_correction": {"center_mode": "none"},
        }  # fmt: skip
    (root / "metadata" / "ood.jsonl").write_text(json.dumps(line) + "\n")
    return root


def dualtalk_prediction(path: Path, who: Face) -> Path:
    np.save(path, np.concatenate([who.expr[:, :50], who.jaw, who.head], 1).astype("f4"))
    return path


def vhap(folder: Path, who: Face) -> Path:
    (folder / "flame_param").mkdir(parents=True)
    still = {"shape": who.shape, "static_offset": np.zeros((1, 5143, 3), "f4")}
    for k in range(FRAMES):
        np.savez(
            folder / "flame_param" / f"{k:05d}.npz", expr=who.expr[k : k + 1], rotation=np.zeros((1, 3), "f4"),
            neck_pose=who.head[k : k + 1], jaw_pose=who.jaw[k : k + 1].astype("f8"), eyes_pose=who.eyes[k : k + 1],
            translation=np.full((1, 3), 0.02, "f4"), **still,
        )  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps({"frames": []}))
    return folder


def vhap_filmed(folder: Path, who: Face) -> Path:
    """The same with its cameras in three lists, tiny pictures and masks: a camera before the face that moves a little."""
    import cv2

    (vhap(folder, who) / "transforms.json").unlink()
    for name in ("images", "fg_masks"):
        (folder / name).mkdir()
    shared = {"cx": 8.0, "cy": 8.0, "fl_x": 40.0, "fl_y": 40.0, "h": 16, "w": 16, "camera_angle_x": 0.4, "camera_angle_y": 0.4}
    frames = []
    for k in range(FRAMES):
        for name, tone in (("images", 100 + k), ("fg_masks", 255)):
            cv2.imwrite(str(folder / name / f"{k:05d}_00.png"), np.full((16, 16, 3), tone, np.uint8))
        matrix = np.eye(4)
        matrix[:3, 3] = 0.02, 0.02, 1.0 + 0.001 * k
        paths = {"file_path": f"images/{k:05d}_00.png", "fg_mask_path": f"fg_masks/{k:05d}_00.png"}
        where = {"timestep_index": k, "timestep_id": f"{k:05d}", "camera_index": 0, "camera_id": "222200037", **paths}
        frames.append({**shared, **where, "flame_param_path": f"flame_param/{k:05d}.npz", "transform_matrix": matrix.tolist()})
    for number, split in enumerate(("train", "val", "test")):
        (folder / f"transforms_{split}.json").write_text(json.dumps({"frames": frames[number::3], **shared, "camera_indices": [0]}))
    return folder


def vhap_tracked(path: Path, who: Face) -> Path:
    """tracked_flame_params: a tracker's global rotation, no turn of the neck."""
    np.savez(
        path, expr=who.expr, rotation=who.head, neck_pose=np.zeros((FRAMES, 3)), jaw_pose=who.jaw, eyes_pose=who.eyes,
        translation=np.zeros((FRAMES, 3)), shape=who.shape, static_offset=np.zeros((1, 5023, 3)), timestep_id=np.arange(FRAMES),
        n_processed_frames=np.array(FRAMES), focal_length=np.array([[1500.0]]),
    )  # fmt: skip
    return path


def diffposetalk(path: Path, who: Face) -> Path:
    np.savez(path, shape=np.tile(who.shape[:100], (FRAMES, 1)), exp=who.expr[:, :50], pose=np.concatenate([who.head, who.jaw], 1))
    return path


def deca(path: Path, who: Face) -> Path:
    pose = np.concatenate([who.head, who.jaw], 1)
    codes = {"shape": np.tile(who.shape[:100], (FRAMES, 1)), "exp": who.expr[:, :50], "pose": pose, "cam": np.ones((FRAMES, 3), "f4")}
    np.savez(path, **codes, light=np.zeros((FRAMES, 27), "f4"), tex=np.zeros((FRAMES, 50), "f4"))
    return path


def emoca(folder: Path, who: Face) -> Path:
    """A pickle a frame, in EMOCA's names."""
    folder.mkdir()
    for k in range(FRAMES):
        pose = np.concatenate([who.head[k], who.jaw[k]])
        codes = {
            "shapecode": who.shape[:100],
            "expcode": who.expr[k, :50],
            "posecode": pose,
            "cam": np.ones(3, "f4"),
            "detailcode": np.zeros(128),
        }
        (folder / f"{k:06d}_000.pkl").write_bytes(pickle.dumps(codes, protocol=(0, 2, 4, 5)[k % 4]))
    return folder


def smirk(path: Path, who: Face) -> Path:
    frames = [
        {"pose_params": who.head[k : k + 1], "jaw_params": who.jaw[k : k + 1], "expression_params": who.expr[k : k + 1, :50],
         "shape_params": who.shape[None], "eyelid_params": np.full((1, 2), 0.3, "f4"), "cam": np.ones((1, 3), "f4")}
        for k in range(FRAMES)
    ]  # fmt: skip
    path.write_bytes(pickle.dumps(frames, protocol=4))
    return path


def matrices(rotvecs: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, by hand."""
    angle = np.linalg.norm(rotvecs, axis=1)[:, None, None]
    x, y, z = rotvecs.T
    o = np.zeros_like(x)
    K = np.stack([np.stack([o, -z, y], 1), np.stack([z, o, -x], 1), np.stack([-y, x, o], 1)], 1)
    safe = np.where(angle > 0, angle, 1)
    return np.eye(3) + np.sin(angle) / safe * K + (1 - np.cos(angle)) / safe**2 * (K @ K)


def metrical_tracker(folder: Path, who: Face, columns: bool = False) -> Path:
    """6D as PyTorch3D has it, the first two rows; with ``columns`` as others have it."""
    import torch

    (folder / "checkpoint").mkdir(parents=True)

    def six(rotvecs: np.ndarray) -> np.ndarray:
        R = matrices(rotvecs)
        return (R[:, :, :2].transpose(0, 2, 1) if columns else R[:, :2]).reshape(-1, 6).astype("f4")

    jaw, eyes = six(who.jaw), np.concatenate([six(who.eyes[:, :3]), six(who.eyes[:, 3:])], 1)
    cameras = np.diag([1.0, -1.0, -1.0]) @ matrices(who.head)  # the head stands still, the camera turns
    for k in range(FRAMES):
        frame = {
            "flame": {"exp": who.expr[k : k + 1], "shape": who.shape[None], "tex": np.zeros((1, 140)), "sh": np.zeros((1, 9, 3), "f4"),
                      "eyes": eyes[k : k + 1], "eyelids": np.zeros((1, 2), "f4"), "jaw": jaw[k : k + 1]},
            "camera": {"R": cameras[k : k + 1], "t": np.zeros((1, 3)), "fl": np.ones((1, 1)), "pp": np.zeros((1, 2))},
            "opencv": {"R": cameras[k : k + 1], "t": np.zeros((1, 3)), "K": np.eye(3)[None]},
            "img_size": torch.tensor([512, 512]), "frame_id": f"{k:05d}", "global_step": k,
        }  # fmt: skip
        torch.save(frame, folder / "checkpoint" / f"{k:05d}.frame")
    return folder


def gagavatar(path: Path, who: Face) -> Path:
    pose = np.concatenate([who.head, who.jaw], 1)
    held = {
        f"f_{k}": {"bbox": np.array([0, 0, 1, 1], "f4"), "shapecode": who.shape, "expcode": who.expr[k], "posecode": pose[k],
                   "eyecode": who.eyes[k], "transform_matrix": np.eye(4, dtype="f4")[:3]}
        for k in range(FRAMES)
    }  # fmt: skip
    path.write_bytes(pickle.dumps(held, protocol=4))
    return path


def artalk(path: Path, who: Face, width: int = 106) -> Path:
    import torch

    torch.save(torch.tensor(motion_codes(who, width)), path)
    return path


def motion_codes(who: Face, width: int) -> np.ndarray:
    full = np.concatenate([who.expr, who.head, who.jaw, who.eyes], 1)
    return {106: full[:, :106], 112: full, 108: np.concatenate([full[:, :104], full[:, 106:108], full[:, 109:111]], 1)}[width].astype("f4")


def unils(root: Path, faces: tuple[Face, Face]) -> Path:
    import io

    import lmdb

    root.mkdir()
    env = lmdb.open(str(root / "motions"), map_size=2**26)
    with env.begin(write=True) as transaction:
        for key, who in zip(("v1/s0", "v1/s1"), faces, strict=True):
            packed = io.BytesIO()
            np.savez(packed, audio=who.voice, motioncode=motion_codes(who, 112), speech_mask=np.ones(FRAMES, bool))
            transaction.put(key.encode(), packed.getvalue())
    env.close()
    (root / "pairs.json").write_text(json.dumps({"train": {"v1": ["v1/s0", "v1/s1", FRAMES]}, "valid": {}}))
    return root


def diffposetalk_lmdb(root: Path, who: Face, segment: int = 20) -> Path:
    """A person's clip in segments of ``segment`` frames, the last one shorter, as the project's own preparation writes it."""
    import io

    import lmdb
    import soundfile

    root.mkdir()
    (root / "val.txt").write_text("TH_00017/002\n")
    env = lmdb.open(str(root / "lmdb"), map_size=2**26)
    coefficients = {"shape": np.tile(who.shape[:100], (FRAMES, 1)), "exp": who.expr[:, :50], "pose": np.concatenate([who.head, who.jaw], 1)}
    with env.begin(write=True) as transaction:
        put = lambda key, held: transaction.put(key.encode(), pickle.dumps(held, protocol=pickle.HIGHEST_PROTOCOL))  # noqa: E731
        put("metadata", {"seg_len": segment})
        put("TH_00017/002/metadata", {"n_frames": FRAMES})
        for number, start in enumerate(range(0, FRAMES, segment)):
            stop, packed = min(start + segment, FRAMES), io.BytesIO()
            soundfile.write(packed, who.voice[640 * start : 640 * stop], 16_000, format="FLAC", subtype="PCM_16")
            coef = {name: array[start:stop].astype("f4") for name, array in coefficients.items()}
            put(f"TH_00017/002/{number:03d}", {"audio": packed.getvalue(), "coef": coef})
    env.close()
    return root


def lam_json(path: Path, who: Face, fps: int = 30) -> Path:
    names = [*sorted(name for name in APPLE if name != "tongueOut"), "tongueOut"]
    frames = [
        {"weights": [float(who.weights[name][k]) for name in names], "time": k / fps, "rotation": who.head[k].tolist()}
        for k in range(FRAMES)
    ]
    path.write_text(
        json.dumps({"names": names, "metadata": {"fps": fps, "frame_count": FRAMES, "blendshape_names": names}, "frames": frames})
    )
    return path


def livelink(path: Path, who: Face, fps: int = 10, order: list[str] | None = None) -> Path:
    """As the phone writes it; ``fps`` of 10 so that a short take holds whole seconds."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        names = order or APPLE
        table.writerow(["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in names), *ANGLES])
        for k in range(FRAMES):
            yaw_pitch_roll = [float(who.head[k, 1]), 0.0, 0.0]
            row = [f"10:20:{k // fps:02d}:{k % fps:02d}.123", 61, *(who.weights[name][k] for name in names), *yaw_pitch_roll, *[0.0] * 6]
            table.writerow(row)
    return path


def a2f(path: Path, who: Face, fps: int = 60) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["", "timeCode", *(f"blendShapes.{name[0].upper()}{name[1:]}" for name in APPLE)])
        for k in range(FRAMES):
            table.writerow([k, k / fps, *(who.weights[name][k] for name in APPLE)])
    return path


def arkit_npy(path: Path, who: Face, order: list[str] | None = None) -> Path:
    columns = [who.weights[name] for name in order or APPLE]
    np.save(path, np.stack([*columns, who.head[:, 1], *[np.zeros(FRAMES)] * 8], 1).astype("f4"))
    return path


def arkit_npz(path: Path, who: Face) -> Path:
    names = [name.replace("Left", "_L").replace("Right", "_R") if name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight") else name
             for name in APPLE]  # fmt: skip
    np.savez(path, names=np.array(names), weights=np.stack([who.weights[name] for name in APPLE], 1), fps=np.array(30.0))
    return path


def stereo(path: Path, faces: tuple[Face, Face]) -> Path:
    return wav_float32(path, np.stack([who.voice for who in faces], 1))


def film(path: Path, frames: int, fps: int | str, voice: np.ndarray | None = None, rate: int = 16_000, size: int = 64) -> Path:
    """A film whose frame number can be read off its pictures: a grey of 2 times the number."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "4", "g": "12"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="mono") if voice is not None else None
        for k in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((size, size, 3), 2 * k, np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
        if sound is not None:
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(voice[None]), format="fltp", layout="mono")
            piece.sample_rate = rate
            container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return path


def seamless(folder: Path, faces: tuple[Face, Face]) -> Path:
    folder.mkdir()
    for person, who in zip(("P0001", "P0002"), faces, strict=True):
        name = f"V00_S0001_I00000001_{person}"
        film(folder / f"{name}.mp4", 60, 30)
        wav_float32(folder / f"{name}.wav", np.repeat(who.voice, 3), rate=48_000)
        valid = np.ones((60, 1), "f4")
        valid[7] = 0
        features = {
            "movement:expression": np.zeros((60, 128), "f4"),
            "movement:is_valid": valid,
            "movement:gaze_encodings": np.zeros((60, 2)),
        }
        np.savez(folder / f"{name}.npz", **features)
        (folder / f"{name}.json").write_text(json.dumps({"metadata:transcript": [], "metadata:vad": [{"start": 0.1, "end": 0.9}]}))
    return folder
