"""Where MediaPipe's 468 points lie on the built-in head: ``python tools/build_face_points.py`` writes tracking/assets/face_points.npz,
and mirrored_points.npy, which says what number each has in a mirror.

Maintainers only, some minutes. The network's points have no definition but what it finds, so that is measured: made-up people, whose
surfaces are known, are drawn with many faces and in many poses, the network is run on the pictures, and every point gets the place on a
triangle that is nearest to it in all pictures at once. What is left over says how far the point is to be trusted.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from mango.data.synthetic.people import TruePerson, true_person
from mango.data.synthetic.pictures import Shooting, cameras, filmed
from mango.data.synthetic.seeding import stream
from mango.head.model import Head, load_head
from mango.tracking.detection import face_in, square_about
from mango.tracking.eyes import looked_at
from mango.tracking.face_models import POINTS, TWINS, FaceModels
from mango.types import MotionClip

OUT = Path(__file__).parents[1] / "mango" / "tracking" / "assets" / "face_points.npz"
PEOPLE, EACH, FIRST_SEED = 40, 16, 900_000  # people that no set has
PAIRED = 6  # of them say which points are each other's in a mirror
SHOOTING = Shooting(size_px=384, view_degrees=(22.0, 14.0), noise=0.004)
NEAR = 12  # triangles about the nearest vertices are tried
ROBUST = 0.03  # of the size of the face: residuals beyond count less


def main() -> None:
    head, models = load_head(), FaceModels()
    np.save(TWINS, mirrored_numbers(head, models))
    surface, points, sizes = seen(head, models)
    faces, barycentrics, spread = placed(head, surface, points, sizes)
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        OUT, head=head.digest, faces=faces.astype(np.int32), barycentrics=barycentrics.astype(np.float32), spread=spread.astype(np.float32)
    )
    print(f"{len(points)} pictures; residual of a point: {100 * np.median(spread):.2f} % of the face's size (median), wrote {OUT}")


def mirrored_numbers(head: Head, models: FaceModels) -> np.ndarray:
    """Which point of a mirrored picture, mirrored back, is nearest to each point of the picture."""
    off = np.zeros((POINTS, POINTS))
    for number in range(PAIRED):
        person, camera = true_person(head, FIRST_SEED + number), cameras(SHOOTING, FIRST_SEED + number)[1]
        for picture, _ in filmed(person, head, grimaces(head, person, FIRST_SEED + number), camera, SHOOTING, FIRST_SEED + number):
            for face in models.faces(picture)[:1]:
                width, side = picture.shape[1], 1.5 * face.size
                here, _ = models.mesh(picture, face.centre, side, face.roll)
                there, _ = models.mesh(np.ascontiguousarray(picture[:, ::-1]), face.centre * (-1, 1) + (width - 1, 0), side, -face.roll)
                back = there * (-1, 1) + (width - 1, 0)
                off += np.square(here[:, None] - back).sum(-1)
    twins = linear_sum_assignment(off)[1]
    assert (twins[twins] == np.arange(POINTS)).all(), "a mirror in a mirror changes nothing"
    return twins.astype(np.int16)


def seen(head: Head, models: FaceModels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per picture: every vertex in pixels (NaN where its skin is turned away), the network's points, and the size of the face in pixels."""
    surfaces, found, sizes = [], [], []
    for number in range(PEOPLE):
        person = true_person(head, FIRST_SEED + number)
        camera = cameras(SHOOTING, FIRST_SEED + number)[1]
        clip = grimaces(head, person, FIRST_SEED + number)
        with torch.inference_mode():
            vertices = person.vertices(head, clip)
        seen_from = vertices @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
        pixels = seen_from @ camera.intrinsics.T
        pixels = (pixels[..., :2] / pixels[..., 2:]).numpy() - 0.5  # OpenCV's pixel centres are whole numbers
        pixels[~facing(head, seen_from)] = np.nan
        for (picture, _), on_screen in zip(filmed(person, head, clip, camera, SHOOTING, FIRST_SEED + number), pixels, strict=True):
            faces = models.faces(picture)
            if not faces:
                continue
            points, _ = face_in(models, picture, (faces[0].centre, 1.5 * faces[0].size, faces[0].roll))
            points, sure = face_in(models, picture, square_about(points))  # as in a film: about the points of the frame before
            if sure > 0.9:
                surfaces.append(on_screen), found.append(looked_at(models, picture, points)[0]), sizes.append(np.ptp(points, axis=0).max())
        print(f"{number + 1} of {PEOPLE} people, {len(found)} pictures")
    return np.stack(surfaces), np.stack(found), np.array(sizes)


def grimaces(head: Head, person: TruePerson, seed: int) -> MotionClip:
    """A few expressions at once, mostly on both sides; the jaw open in half of them; heads turned."""
    rng, names = stream(seed, "grimaces"), list(head.expression_names)
    expr = np.zeros((EACH, head.expressions))
    pairs = sorted({name.removesuffix("Left").removesuffix("Right") for name in names})
    for frame in range(EACH):
        for pair in rng.choice(pairs, size=rng.integers(0, 5), replace=False):
            weight = rng.uniform(0.2, 0.9)
            for k, name in enumerate(names):
                if name in (pair, f"{pair}Left", f"{pair}Right"):
                    expr[frame, k] = weight * rng.uniform(0.8, 1.0)
    jaw = np.zeros((EACH, 3))
    jaw[:, 0] = np.where(rng.random(EACH) < 0.5, rng.uniform(0.02, 0.3, EACH), 0.0)
    neck = rng.normal(size=(EACH, 3)) * np.radians([8.0, 12.0, 6.0])
    eyes = np.tile(rng.normal(size=(EACH, 3)) * [0.1, 0.15, 0.0], 2)
    nothing = torch.zeros(EACH, 3)
    moving = {
        name: torch.from_numpy(value).float()
        for name, value in (("expr", expr), ("jaw_pose", jaw), ("neck_pose", neck), ("eyes_pose", eyes))
    }
    return MotionClip(rotation=nothing, translation=nothing, shape=person.shape, head=head.digest, **moving)


def facing(head: Head, seen_from: torch.Tensor) -> np.ndarray:
    """Which vertices' skin looks towards the camera, in each picture."""
    corners = seen_from[:, head.faces]
    normals = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])
    of_vertex = torch.zeros_like(seen_from)
    for corner in range(3):
        of_vertex.index_add_(1, head.faces[:, corner], normals)
    return ((of_vertex * seen_from).sum(-1) < 0).numpy()


def placed(head: Head, surface: np.ndarray, points: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangle, barycentric coordinates and root mean square residual (share of the face's size) of every point."""
    allowed = np.union1d(head.region("face").numpy(), head.region("lips").numpy())
    triangles = head.faces.numpy()
    triangles_of = {int(v): np.flatnonzero((triangles == v).any(1)) for v in allowed}
    of_face, barycentrics, spread = np.zeros(POINTS, np.int64), np.zeros((POINTS, 3)), np.zeros(POINTS)
    for point in range(POINTS):
        off = np.linalg.norm(surface[:, allowed] - points[:, None, point], axis=-1) / sizes[:, None]
        hidden = np.isnan(off)
        cost = np.where(hidden, 0.0, np.minimum(np.nan_to_num(off), 3 * ROBUST) ** 2).sum(0) / np.maximum((~hidden).sum(0), 1)
        cost[hidden.mean(0) > 0.5] = np.inf
        nearest = allowed[np.argsort(cost)[:NEAR]]
        best = np.inf
        for face in sorted({int(face) for vertex in nearest for face in triangles_of[int(vertex)]}):
            if not np.isin(triangles[face], allowed).all():
                continue
            corners = surface[:, triangles[face]]
            where, left = inside(corners, points[:, point], sizes)
            if left < best:
                best, of_face[point], barycentrics[point], spread[point] = left, face, where, left
    return of_face, barycentrics, spread


def inside(corners: np.ndarray, points: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, float]:
    """The place in a triangle that is nearest to the points in all pictures; robust least squares, within the triangle."""
    visible = ~np.isnan(corners).any((1, 2))
    corners, points, sizes = corners[visible], points[visible], sizes[visible]
    if not len(points):
        return np.full(3, 1 / 3), np.inf
    where = np.full(3, 1 / 3)
    for _ in range(8):
        residual = (np.einsum("c,pcx->px", where, corners) - points) / sizes[:, None]
        weight = 1 / (1 + (np.linalg.norm(residual, axis=1) / ROBUST) ** 2) / sizes**2
        sides = corners[:, :2] - corners[:, 2:]  # where = (u, v, 1 - u - v)
        wanted = points - corners[:, 2]
        normal = np.einsum("p,pix,pjx->ij", weight, sides, sides) + 1e-9 * np.eye(2)
        u, v = np.linalg.solve(normal, np.einsum("p,pix,px->i", weight, sides, wanted))
        where = np.clip([u, v, 1 - u - v], 0, 1)
        where /= where.sum()
    residual = np.linalg.norm(np.einsum("c,pcx->px", where, corners) - points, axis=1) / sizes
    return where, float(np.sqrt(np.minimum(residual, 3 * ROBUST) ** 2 @ np.ones(len(residual)) / len(residual)))


if __name__ == "__main__":
    main()
