"""True people: heads that no learned avatar can copy exactly, made of Gaussians of their own.

    identity within the head's basis + a smooth offset field outside it + personal ways to smile and frown -> vertices
    skin, lips, eyes, teeth, lashes, brows, beard, hair on the mesh (appearance.py, hair.py)               -> Gaussians
    Lambert + gloss by smooth normals under the clip's own light                                          -> colours

What the learned side shares with it is the triangulation that carries the Gaussians, nothing else: more Gaussians, elsewhere, in
another shape, shaded by another law.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mango.data.synthetic.appearance import Paint, canvas, complexion
from mango.data.synthetic.hair import hair
from mango.data.synthetic.seeding import stream
from mango.data.synthetic.skin import painted
from mango.types import MotionClip
from renderer.binding import TriangleFrames, bound_gaussians, triangle_frames
from renderer.types import Gaussians

FORMAT = 1
IDENTITY_SCALE = 0.85  # of the basis' unit-variance coefficients
PERSONAL = (
    "mouthSmile",
    "browInnerUp",
    "browOuterUp",
    "browDown",
    "cheekSquint",
    "mouthPucker",
    "mouthFunnel",
    "noseSneer",
    "mouthStretch",
)


@dataclass(frozen=True)
class Light:
    """One distant lamp over an ambient that is brighter from above. The gloss is Blinn's, seen from the front."""

    direction: Float[Tensor, "3"]  # towards the lamp, unit length
    lamp: Float[Tensor, "3"]  # colour times strength
    ambient: Float[Tensor, "3"]


@dataclass(frozen=True)
class TruePerson:
    """One person's true shape and looks. All tensors float32; places on the mesh as ``renderer.binding`` means them."""

    name: str
    head: str  # digest of the head whose basis and triangles it uses
    shape: Float[Tensor, "identity"]
    displacement: Float[Tensor, "verts 3"]  # outside the identity basis, metres
    personal: Float[Tensor, "expressions verts 3"]  # what this person's expressions do beyond the head's, metres at weight 1
    triangles: Int[Tensor, "gaussians 3"]
    barycentrics: Float[Tensor, "gaussians 3"]
    offsets: Float[Tensor, "gaussians 3"]
    normals: Float[Tensor, "gaussians 3"]  # smooth, in the triangle's frame
    quats: Float[Tensor, "gaussians 4"]
    log_scales: Float[Tensor, "gaussians 3"]
    opacities: Float[Tensor, "gaussians"]
    albedo: Float[Tensor, "gaussians 3"]
    gloss: Float[Tensor, "gaussians"]
    lit: Float[Tensor, "gaussians"]  # share of the shading that applies: less for what glows by scattering (eyes, teeth)
    light_direction: Float[Tensor, "3"]
    lamp: Float[Tensor, "3"]
    ambient: Float[Tensor, "3"]

    def vertices(self, head, clip: MotionClip) -> Float[Tensor, "time verts 3"]:
        """The posed surface: the head's, plus what its bases cannot say, turned with the neck."""
        import roma

        basic = head.with_shape(self.shape).vertices(
            clip.expr, clip.neck_pose, clip.jaw_pose, clip.eyes_pose, clip.rotation, clip.translation
        )
        used = self.personal.flatten(1).any(dim=1)
        extra = (clip.expr[:, used] @ self.personal[used].flatten(1)).unflatten(1, (-1, 3)) + self.displacement
        turned = roma.rotvec_to_rotmat(clip.rotation) @ roma.rotvec_to_rotmat(clip.neck_pose)
        follows = 1 - head.skin_weights[:, :1]  # the root stays
        whole = roma.rotvec_to_rotmat(clip.rotation)
        return basic + follows * (extra @ turned.mT) + (1 - follows) * (extra @ whole.mT)

    def gaussians(self, vertices: Float[Tensor, "time verts 3"]) -> Gaussians:
        frames = triangle_frames(vertices, self.triangles)
        return bound_gaussians(
            frames, self.barycentrics, self.offsets, self.quats, self.log_scales, self.opacities, self.shaded(frames)
        )  # fmt: skip

    def shaded(self, frames: TriangleFrames) -> Float[Tensor, "time gaussians 3"]:
        """Colours under the person's light: clamped Lambert and a highlight, which no linear shading reproduces."""
        towards = self.light_direction
        half = torch.nn.functional.normalize(towards + towards.new_tensor([0.0, 0.0, 1.0]), dim=0)
        share = self.normals.unbind(-1)
        n = [sum(s * axis[i] for s, axis in zip(share, (frames.along, frames.normal, frames.across), strict=True)) for i in range(3)]
        lambert = (n[0] * towards[0] + n[1] * towards[1] + n[2] * towards[2]).clamp_min(0)
        shine = (n[0] * half[0] + n[1] * half[1] + n[2] * half[2]).clamp_min(0)
        for _ in range(4):  # to the sixteenth
            shine = shine * shine
        shine = self.gloss * shine
        sky = 0.85 + 0.15 * n[1]
        planes = []
        for channel in range(3):
            light = self.ambient[channel] * sky + self.lamp[channel] * lambert
            planes.append((self.albedo[:, channel] * (1 + self.lit * (light - 1)) + shine).clamp(0, 1))
        return torch.stack(planes, -1)

    def save(self, path: Path) -> None:
        """One safetensors file."""
        from safetensors.torch import save  # its save_file hides files from everybody but who wrote them

        tensors = {f.name: getattr(self, f.name).contiguous() for f in fields(self) if f.name not in ("name", "head")}
        said = {"kind": "mango true person", "format": FORMAT, "name": self.name, "head": self.head}
        path.write_bytes(save(tensors, {"mango": json.dumps(said)}))

    @staticmethod
    def load(path: Path) -> "TruePerson":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {}).get("mango", "{}"))
            if said.get("kind") != "mango true person" or said.get("format") != FORMAT:
                raise ValueError(
                    f"{path}: expected a true person of format {FORMAT}, found {said or 'no description'}; synthesize the set again"
                )
            return TruePerson(name=said["name"], head=said["head"], **{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def true_person(head, seed: int, *, name: str | None = None, num_gaussians: int = 10000) -> TruePerson:
    """The person number ``seed``; ``num_gaussians`` counts those of the surface, brows and hair come on top."""
    shape = torch.from_numpy(stream(seed, "identity").normal(size=head.identities)).float().clamp(-2.2, 2.2) * IDENTITY_SCALE
    displacement = _displacement(head, seed) + sum(_open_eyes(head, seed).values())
    nothing = torch.zeros
    clip = MotionClip(
        expr=nothing(1, head.expressions), rotation=nothing(1, 3), neck_pose=nothing(1, 3), jaw_pose=nothing(1, 3), eyes_pose=nothing(1, 6),
        translation=nothing(1, 3), shape=shape, head=head.digest,
    )  # fmt: skip
    surface = head.vertices(clip)[0] + displacement
    looks = complexion(seed)
    paint = Paint.joined([painted(head, surface, looks, seed, num_gaussians), hair(head, surface, looks, seed)])
    light = _light(seed)
    return TruePerson(
        name=name or f"person {seed}", head=head.digest, shape=shape, displacement=displacement, personal=_personal(head, seed),
        **paint.bound(surface, canvas(head, surface).normals), light_direction=light.direction, lamp=light.lamp, ambient=light.ambient,
    )  # fmt: skip


def _light(seed: int) -> Light:
    rng = stream(seed, "light")
    side, height = rng.choice([-1, 1]) * rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.6)
    direction = torch.nn.functional.normalize(torch.tensor([side, height, 1.0], dtype=torch.float32), dim=0)
    warmth = rng.uniform(-0.04, 0.06)
    lamp = rng.uniform(0.44, 0.54) * torch.tensor([1 + warmth, 1.0, 1 - warmth])
    ambient = rng.uniform(0.46, 0.54) * torch.tensor([1 - 0.5 * warmth, 1.0, 1 + 0.5 * warmth])
    return Light(direction, lamp.float(), ambient.float())


def _bumps(points: Float[Tensor, "points 3"], rng, count: int, size_m: float, reach_m: tuple[float, float]) -> Float[Tensor, "points 3"]:
    """A smooth random vector field in space: Gaussian bumps about random points of the front of the head."""
    field = torch.zeros_like(points)
    front = points[(points[:, 2] > points[:, 2].mean()).nonzero()[:, 0]]
    for _ in range(count):
        centre = front[int(rng.integers(len(front)))]
        reach = rng.uniform(*reach_m)
        push = torch.from_numpy(rng.normal(size=3)).float() * size_m
        field += torch.exp(-0.5 * ((points - centre) / reach).square().sum(-1, keepdim=True)) * push
    return field


def _displacement(head, seed: int) -> Float[Tensor, "verts 3"]:
    """About a millimetre of smooth shape outside the identity basis. Eyeballs move as wholes, the lips' inner edges together."""
    field = _bumps(head.template, stream(seed, "displacement"), 26, 0.0012, (0.014, 0.035))
    for eye in (3, 4):
        ball = head.skin_weights[:, eye] > 0.5
        centre = head.template[ball].mean(0)
        near = torch.exp(-(((head.template - centre).norm(dim=-1, keepdim=True) / 0.026) ** 4))
        near[ball] = 1.0
        field = field + near * (field[ball].mean(0) - field)  # lids go with their ball, or one eye would look half shut
    return field


def _open_eyes(head, seed: int) -> dict[str, Float[Tensor, "verts 3"]]:
    """By side: lids at rest a little wider than the head's, how wide is the person's own. A blink takes it back."""
    share = float(stream(seed, "lids").uniform(0.3, 0.7))
    return {side: share * head.expression_directions[..., head.expression_names.index("eyeWide" + side)] for side in ("Left", "Right")}


def _personal(head, seed: int) -> Float[Tensor, "expressions verts 3"]:
    """Expression fields outside the head's basis: how this person's smile differs from the head's. Lips that close stay as they are."""
    personal = torch.zeros_like(head.expression_directions).movedim(-1, 0)
    for k, name in enumerate(head.expression_names):
        if not name.startswith(PERSONAL):
            continue
        own = head.expression_directions[..., k]
        field = _bumps(head.template, stream(seed, "personal", name.removesuffix("Left").removesuffix("Right")), 12, 0.35, (0.015, 0.03))
        personal[k] = own * field[:, :1].clamp(-0.5, 0.5)
    for side, wider in _open_eyes(head, seed).items():
        personal[head.expression_names.index("eyeBlink" + side)] = -wider
    return personal
