"""Motion across heads of one mesh."""

import numpy as np
import pytest
from flame_parts import flame_parts

from mango.errors import InputError
from mango.head.assets import HeadArrays, read_head
from mango.head.model import Head
from mango.head.retargeting import Basis, arkit_basis, from_neutral, matches, motion_basis, read_arkit_basis, retargeted, table

MM = 1e-3


def random_basis(count: int, seed: int, lowest=-4.0, highest=4.0) -> Basis:
    directions = np.random.default_rng(seed).normal(0, 2 * MM, (count, 60, 3))
    return Basis(tuple(f"s{k}" for k in range(count)), directions, np.full(count, lowest), np.full(count, highest))


def test_what_the_target_can_do_comes_back():
    """Both ways through a mixed basis. Seen red with the damping a hundred times larger."""
    target = random_basis(8, 0)
    mixing = np.random.default_rng(1).normal(0, 0.5, (5, 8))
    source = arkit_basis([f"shape{k}" for k in range(5)], np.tensordot(mixing, target.directions, axes=1))
    coefficients, found = matches(source, target)
    np.testing.assert_allclose(coefficients, mixing, atol=0.01)
    assert all(match.explained > 0.999 for match in found)
    weights = np.random.default_rng(2).uniform(0.1, 0.9, (7, 5))
    again = retargeted(target.displaced(weights @ coefficients), source)
    np.testing.assert_allclose(again, weights, atol=0.01)


def test_bounds_hold_and_are_solved_for_not_cut():
    """Seen red by clipping the free solution: with directions alike the others must make up for the bound."""
    first = random_basis(1, 0).directions
    directions = np.concatenate([first, first + 0.5 * random_basis(1, 1).directions])
    target = Basis(("a", "b"), directions, np.zeros(2), np.ones(2))
    goal = 1.8 * directions[:1] + 0.1 * directions[1:]
    (found,) = retargeted(goal, target)
    assert found[0] == pytest.approx(1.0, abs=1e-6) and 0.3 < found[1] <= 1.0


def test_the_residual_is_what_the_target_cannot_do():
    target = random_basis(4, 0)
    inside, outside = target.directions[:1] * 0.5, random_basis(1, 9).directions
    outside = outside - target.displaced(np.linalg.lstsq(target.directions.reshape(4, -1).T, outside.ravel(), rcond=None)[0])
    source = arkit_basis(("mixed", "inside"), np.concatenate([inside + outside, inside]))
    _, (mixed, whole) = matches(source, target)
    rms = lambda array: np.sqrt((array**2).sum(-1).mean()) / MM  # noqa: E731
    assert mixed.residual_mm == pytest.approx(rms(outside), rel=0.01) and mixed.size_mm == pytest.approx(rms(inside + outside))
    assert whole.residual_mm < 0.02
    assert table([whole, mixed]).splitlines()[1].startswith("mixed"), "worst first"


def test_a_neutral_face_of_another_person_is_no_expression():
    """Seen red by taking displacements from the target's neutral face."""
    target = random_basis(6, 0)
    neutral = np.random.default_rng(3).normal(0, 0.08, (60, 3))
    stranger = 1.2 * neutral + 0.003
    moving = stranger + 1.2 * target.displaced(np.full((1, 6), 0.3))
    found = retargeted(from_neutral(np.concatenate([stranger[None], moving]), stranger, neutral), target)
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    np.testing.assert_allclose(found[1], 0.3, atol=0.01)


def test_another_mesh_is_refused():
    with pytest.raises(InputError, match="one mesh for both heads, found 10 against 60"):
        retargeted(np.zeros((1, 10, 3)), random_basis(2, 0))


def test_a_basis_file_is_checked(tmp_path):
    good = {"names": np.array(["jawOpen", "mouthLeft"]), "deltas": np.zeros((2, 60, 3), np.float32)}
    for name, change in {"a": {}, "b": {"names": np.array(["jawOpen", "x"])}, "c": {"deltas": np.zeros((3, 60, 3))}}.items():
        np.savez(tmp_path / f"{name}.npz", **good | change)
    (tmp_path / "d.npz").write_bytes(b"no")
    assert read_arkit_basis(tmp_path / "a.npz").names == ("jawOpen", "mouthLeft")
    for name in "bcd":
        with pytest.raises(InputError, match="expected an npz of names"):
            read_arkit_basis(tmp_path / f"{name}.npz")


def test_arkit_on_flames_mesh(samples, tmp_path):
    """Real ARKit shapes of a LAM avatar against a FLAME head: its real jaw and skin, with expressions made of half of those shapes (FLAME's
    own are not public). The half comes back whole, and of jawOpen the jaw's turn does most."""
    with np.load(samples / "lam_gaussian_heads" / "arkit51_on_flame5023.npz") as arrays:
        names, deltas = arrays["names"].tolist(), arrays["deltas"].astype(np.float64)
    source = read_arkit_basis(samples / "lam_gaussian_heads" / "arkit51_on_flame5023.npz")
    np.savez(tmp_path / "parts.npz", **flame_parts(samples))
    parts = read_head(tmp_path / "parts.npz", without_expressions=True)
    given = [k for k, name in enumerate(names) if "Left" in name]
    mixing = np.linalg.qr(np.random.default_rng(0).normal(0, 1, (len(given), len(given))))[0]
    made = np.tensordot(mixing, deltas[given], axes=1).transpose(1, 2, 0).astype(np.float32)
    fields = vars(parts) | {"expression_directions": made, "expression_names": tuple(f"e{k}" for k in range(len(given)))}
    target = motion_basis(Head(HeadArrays(**fields)))
    coefficients, found = matches(source, target)
    by_name = {match.name: match for match in found}
    assert all(by_name[names[k]].explained > 0.99 for k in given)
    jaw = coefficients[names.index("jawOpen"), target.names.index("jaw open")]
    assert 0.1 < jaw < 0.5 and by_name["jawOpen"].explained > 0.7
    assert by_name["eyeBlinkRight"].explained < 0.5, "nothing in the target moves the right lid: the report says so"
