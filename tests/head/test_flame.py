"""Which FLAME a file is, and the loader on real numbers."""

import hashlib

import numpy as np
import pytest
import scipy.spatial.transform
import torch
from flame_parts import flame_parts
from tiny_flame import tiny_flame

from mango.errors import InputError
from mango.head import flame
from mango.head.assets import read_head, with_digest, write_head
from mango.head.model import load_head

MM = 1e-3


def saved(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def known(monkeypatch):
    """Three made-up generations with one mesh: one known by its file, two by their numbers."""
    made = {generation: tiny_flame(seed) for seed, generation in enumerate(flame.GENERATIONS)}

    def statistics(arrays):
        return flame.Statistics(
            extent=tuple(np.ptp(arrays["v_template"], axis=0).tolist()),
            identities=tuple(flame.identity_sizes(arrays["shapedirs"])[:6].tolist()),
            regressor=tuple((arrays["J_regressor"] ** 2).sum(1).tolist()),
        )

    monkeypatch.setattr(flame, "KNOWN_STATISTICS", {name: statistics(made[name]) for name in ("2023", "2023-open")})
    return made


def test_numbers_tell_the_generation_however_they_are_stored(tmp_path, known):
    """Seen red by comparing extents alone, which another basis on the same template shares."""
    for name in ("2023", "2023-open"):
        single = {key: array.astype(np.float32) if array.dtype == np.float64 else array for key, array in known[name].items()}
        mirrored = known[name] | {"shapedirs": -known[name]["shapedirs"]}
        for arrays in (known[name], single, mirrored):
            assert read_head(saved(tmp_path / "flame2020.npz", arrays)).generation == name, "never by the file's name"
    other = known["2023"] | {"shapedirs": known["2020"]["shapedirs"]}
    assert read_head(saved(tmp_path / "flame2023.npz", other)).generation is None


def test_a_published_file_is_known_by_its_bytes(tmp_path, known, monkeypatch):
    path = saved(tmp_path / "some.npz", known["2020"])
    assert read_head(path).generation is None
    monkeypatch.setitem(flame.PUBLISHED_FILES, hashlib.sha256(path.read_bytes()).hexdigest(), "2020")
    assert read_head(path).generation == "2020"


def test_what_is_stated_counts_where_nothing_tells_and_never_against_what_is_seen(tmp_path, known):
    unknown, open_ = saved(tmp_path / "a.npz", known["2020"]), saved(tmp_path / "b.npz", known["2023-open"])
    assert load_head(unknown, generation="2020").generation == "2020"
    with pytest.raises(InputError, match="expected FLAME 2023, as stated, found FLAME 2023-open"):
        load_head(open_, generation="2023")


def test_a_written_head_remembers(tmp_path, known):
    """Seen red by leaving the generation out of what is written."""
    head = with_digest(read_head(saved(tmp_path / "a.npz", known["2020"]), generation="2020"))
    write_head(tmp_path / "ours.npz", head)
    again = read_head(tmp_path / "ours.npz")
    assert (again.generation, again.kind, again.digest) == ("2020", "flame", head.digest)
    with pytest.raises(InputError, match="found FLAME 2020"):
        read_head(tmp_path / "ours.npz", generation="2023")


def test_parts_of_flame_2023_open(samples, tmp_path):
    """Real joints, weights and correctives against FLAME's formula written out with scipy's rotations."""
    path = saved(tmp_path / "parts.npz", flame_parts(samples))
    with pytest.raises(InputError, match="a face without expressions cannot be animated"):
        load_head(path)
    head = load_head(path, without_expressions=True)
    assert (head.generation, head.identities, head.expressions) == ("2023-open", 60, 0)
    person = head.with_shape(torch.tensor([1.5, -1.0, 0.5]))
    assert (person.joints[3] - person.joints[4])[0] > 0.05, "left is +x"
    poses = np.random.default_rng(0).normal(0, 0.2, (5, 3))
    turn = lambda k: scipy.spatial.transform.Rotation.from_rotvec(poses[k]).as_matrix()  # noqa: E731
    parts = flame_parts(samples)
    shaped = parts["v_template"] + parts["shapedirs"][..., :3].astype(np.float64) @ [1.5, -1.0, 0.5]
    joints = parts["J_regressor"].astype(np.float64) @ shaped
    feature = np.concatenate([(turn(k) - np.eye(3)).ravel() for k in range(1, 5)])
    rest = shaped + parts["posedirs"].astype(np.float64) @ feature
    world = []
    for k, parent in enumerate((-1, 0, 1, 1, 1)):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = turn(k), joints[k] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    expected = sum(parts["weights"][:, k : k + 1] * ((rest - joints[k]) @ world[k][:3, :3].T + world[k][:3, 3]) for k in range(5))
    pose = torch.tensor(poses[:, None], dtype=torch.float32)
    found = person.vertices(torch.zeros(1, 0), pose[1], pose[2], torch.cat([pose[3], pose[4]], -1), pose[0])[0]
    assert np.abs(found.numpy() - expected).max() < 1e-3 * MM
