"""A tiny random head in FLAME's layout, and the real built-in one."""

import numpy as np
import pytest
import torch
from tiny_flame import tiny_flame

from mango.head.assets import HeadArrays
from mango.head.model import Head


@pytest.fixture
def tiny() -> Head:
    flame = tiny_flame()
    return Head(
        HeadArrays(
            name="tiny",
            digest="0" * 64,
            template=flame["v_template"],
            shape_directions=flame["shapedirs"][..., :3],
            expression_directions=flame["shapedirs"][..., 300:],
            pose_correctives=flame["posedirs"].reshape(-1, 36).T.copy(),
            joint_regressor=flame["J_regressor"],
            skin_weights=flame["weights"],
            faces=flame["f"].astype(np.int64),
            expression_names=tuple("abcd"),
        )
    )


@pytest.fixture
def posed(head):
    """Vertices of the average person for expression weights by name and poses; one frame."""

    def vertices(head: Head = head, shape=None, neck=(0, 0, 0), jaw=(0, 0, 0), eyes=(0,) * 6, rotation=None, translation=None, **weights):
        as_row = lambda values: head.template.new_tensor([values])  # noqa: E731
        expr = head.template.new_zeros(1, head.expressions)
        for name, weight in weights.items():
            expr[0, head.expression_names.index(name)] = weight
        person = head.with_shape(head.template.new_zeros(head.identities) if shape is None else shape)
        world = [None if value is None else as_row(value) for value in (rotation, translation)]
        return person.vertices(expr, as_row(neck), as_row(jaw), as_row(eyes), *world)[0]

    return vertices


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
