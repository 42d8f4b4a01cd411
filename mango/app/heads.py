"""`mango head convert` and `mango head inspect`: other models' heads in our layout, and what a head file is."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from mango.errors import InputError
from mango.head.arkit import LIDS
from mango.head.assets import HeadArrays, read_head, with_digest, write_head
from mango.head.flame import STATE_IT, Generation
from mango.head.model import Head
from mango.head.regions import REGIONS

Positional = tyro.conf.Positional
MM = 1000.0
SIZE = 320  # pixels of a picture of the sheet
LIPS, SMILE, BLINK = "jawOpen", ("mouthSmileLeft", "mouthSmileRight"), LIDS
JAW_OPEN = 0.3  # radians, for heads whose jaw has no weight of ARKit's


def convert(
    source: Positional[Path],
    out: Positional[Path],
    /,
    format: Literal["ict", "flame"],
    generation: Generation | None = None,
    overwrite: bool = False,
) -> None:
    """Another model's head as a head file of this project.

    Args:
        source: ict: the folder FaceXModel of ICT-FaceKit, or one npz with its arrays; flame: your .pkl or .npz
        out: the new file, .npz
        format: whose model the source is
        generation: which FLAME the source is, where it cannot say itself; the new file remembers it
        overwrite: replace what is there
    """
    if out.suffix != ".npz":
        raise InputError(out, expected="a name that ends in .npz", found=repr(out.name), remedy="rename the output")
    if out.exists() and not overwrite:
        raise InputError(out, expected="nothing yet", found="a file", remedy="choose another name, or pass --overwrite to replace it")
    if format == "ict":
        from mango.head.ict import head_of_ict, read_ict

        if generation is not None:
            remedy = "leave --generation away"
            raise InputError("--generation", expected="a FLAME head", found="--format ict", remedy=remedy)
        head = head_of_ict(read_ict(source), name=out.stem)
    else:
        head = read_head(source, generation=generation)
        if head.kind == "flame" and head.generation is None:
            raise InputError(source, expected="to know which FLAME this is", found="a file that cannot say", remedy=STATE_IT)
        head = with_annotation(head)
    write_head(out, head)
    print("\n".join(description(read_head(out), out)))
    print(f"next: mango head inspect {out} --sheet sheet.png")


def with_annotation(arrays: HeadArrays) -> HeadArrays:
    """With regions and landmarks in the file, so that nobody has to find them again."""
    head = Head(arrays)
    regions = {name: head.region(name).numpy() for name in REGIONS}
    head.landmarks(head.template)
    found = {"landmark_faces": head.landmark_faces.numpy(), "landmark_barycentrics": head.landmark_barycentrics.numpy()}
    return with_digest(replace(arrays, regions=regions, **found))


def inspect(head: Positional[str], /, sheet: Path | None = None, arkit: Path | None = None) -> None:
    """What a head file is.

    Args:
        head: "builtin" or a head file: ours, or FLAME's .pkl or .npz
        sheet: also draw the head here (.png): at rest, jaw open, smiling, blinking
        arkit: ARKit's shapes on this head's vertices (.npz of names and deltas): say how much of each the head can do
    """
    arrays = read_head(head, without_expressions=True)
    print("\n".join(description(arrays, head)))
    if arkit is not None:
        from mango.head.retargeting import matches, motion_basis, read_arkit_basis, table

        _, found = matches(read_arkit_basis(arkit), motion_basis(Head(arrays)))
        print("\n".join(f"  {line}" for line in table(found).splitlines()))
    if sheet is not None:
        if sheet.suffix.lower() != ".png":
            raise InputError(sheet, expected="a name that ends in .png", found=repr(sheet.name), remedy="rename the output")
        write_sheet(sheet, Head(arrays))
        print(f"  wrote {sheet}")


def description(arrays: HeadArrays, where: object) -> list[str]:
    """Line by line."""
    head = Head(arrays)
    extent = np.ptp(arrays.template, axis=0) * MM
    joints = (head.joint_regressor @ head.template * MM).round().int().tolist()
    names = arrays.expression_names
    if arrays.kind == "flame":
        known = f"FLAME {arrays.generation}" if arrays.generation else f"FLAME of unknown generation ({STATE_IT})"
        shapes = f"{len(names)} expressions without names" if names else "no expressions: it can be posed, not animated"
    else:
        known = "a head with ARKit's expressions"
        shapes = f"{len(names)} expressions by ARKit name and {len(arrays.joint_expressions)} ARKit shapes that are joints"
    try:
        found = ", ".join(f"{name} {len(head.region(name))}" for name in REGIONS if len(head.region(name)))
        regions = ("in the file: " if arrays.regions else "found by likeness with the built-in head: ") + found
        lips = f"{float(head.lip_opening(head.template)) * MM:.1f} mm between the lips at rest"
    except InputError as error:
        regions, lips = f"none: {error.found}", "unknown opening of the lips"
    licence = arrays.licence or ("FLAME's own licence: flame.is.tue.mpg.de/modellicense.html" if arrays.kind == "flame" else "")
    places = ", ".join(
        f"{name} {tuple(place)}" for name, place in zip(("root", "neck", "jaw", "left eye", "right eye"), joints, strict=True)
    )
    return [
        f"{where}: {known}, digest {arrays.digest}",
        f"  {len(arrays.template):,} vertices, {len(arrays.faces):,} triangles, {' x '.join(f'{x:.0f}' for x in extent)} mm (x, y, z)",
        f"  {arrays.shape_directions.shape[-1]} identities; {shapes}",
        f"  joints at {places} mm",
        f"  {lips}",
        f"  regions {regions}",
        f"  licence: {licence or 'see mango/head/assets/LICENSE.md'}",
    ]


def write_sheet(out: Path, head: Head) -> None:
    """From the front, in grey: at rest, jaw open, smiling, blinking; what the head has no expression for is left at rest and said."""
    import cv2

    pictures = []
    for title, vertices in poses(head).items():
        picture = drawn(vertices, head)
        cv2.putText(picture, title, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
        pictures.append(picture)
    out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), np.concatenate(pictures, axis=1)):
        raise InputError(out, expected="a place to write to", found="none", remedy="choose another folder")


def poses(head: Head) -> dict[str, torch.Tensor]:
    """Vertices by title."""
    jaw = head.joint_expressions[LIPS][3:6] if LIPS in head.joint_expressions else torch.tensor([JAW_OPEN, 0.0, 0.0])
    person = head.with_shape(torch.zeros(head.identities))

    def posed(names: tuple[str, ...] = (), jaw_pose: torch.Tensor | None = None) -> torch.Tensor:
        expr = torch.zeros(1, head.expressions)
        expr[:, [head.expression_names.index(name) for name in names if name in head.expression_names]] = 1.0
        jaw_row = torch.zeros(1, 3) if jaw_pose is None else jaw_pose[None].float()
        return person.vertices(expr, torch.zeros(1, 3), jaw_row, torch.zeros(1, 6))[0]

    smile, blink = (("" if names[0] in head.expression_names else " (no such expression)") for names in (SMILE, BLINK))
    return {"rest": posed(), "jaw open": posed(jaw_pose=jaw), f"smile{smile}": posed(SMILE), f"blink{blink}": posed(BLINK)}


def drawn(vertices: torch.Tensor, head: Head) -> np.ndarray:
    """Grey on white, eyes' midpoint where the built-in head has it."""
    from renderer.cameras import portrait_camera
    from renderer.mesh import rasterize_mesh, shaded

    eyes = (head.joint_regressor @ head.template)[3:].mean(0)
    vertices = vertices - eyes + torch.tensor([0.0, 0.03, 0.03])
    camera = portrait_camera(SIZE, field_of_view_degrees=19)
    picture = shaded(rasterize_mesh(vertices, head.faces, camera), vertices, head.faces, camera)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy().copy()
