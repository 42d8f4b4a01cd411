"""Gaussians are hidden at random while an avatar learns, and only then.

Faults planted, each seen red: the same ones in every picture, or of every step; a process that counts its own pictures; hidden from the
motion model, too; a new person's avatar without it.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_films import make_filmed_set, tiny_stage2

from mango.errors import InputError
from mango.training.avatars import with_dropout
from mango.training.finetune import DROPOUT, FinetuneConfig, films_of, stage2_config
from mango.training.runtime import Runtime
from mango.training.stage2 import teach_head, teach_motion
from mango.training.stage2_config import Stage2Config
from mango.training.studio import open_studio
from renderer.types import Gaussians


def shown(carry, pictures):
    count = 2000
    place, turn = torch.zeros(len(pictures), count, 3), torch.zeros(len(pictures), count, 4)
    return carry(Gaussians(place, turn, place, torch.full((len(pictures), count), 0.8), place), "p", pictures).opacities


def test_every_picture_lacks_other_gaussians():
    first, again, later = (shown(with_dropout(0.25, [0, 1, 5], 7, step), [0, 1, 2]) for step in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert torch.equal(first.unique(), torch.tensor([0.0, 0.8]))
    torch.testing.assert_close((first == 0).float().mean(1), torch.full((3,), 0.25), atol=0.03, rtol=0)
    assert ((first[0] == 0) & (first[1] == 0)).float().mean() < 0.1, "each picture on its own"
    assert torch.equal(shown(with_dropout(0.25, [5], 7, 3), [0]), first[2:]), "whichever process draws it"
    assert with_dropout(0.0, [0], 7, 3) is None


def test_motion_learns_from_whole_avatars(head, tmp_path):
    films = make_filmed_set(tmp_path / "films", head)
    losses = {}
    for share in (0.0, 0.9):
        config = tiny_stage2(tmp_path, films, head, avatar_dropout=share, background=0.0)  # new avatars are grey
        studio, learners = open_studio(config, Runtime(config.runtime))
        lesson = studio.lessons.at(1)
        losses[share] = teach_motion(studio, learners, lesson, 1)["l1"], teach_head(studio, learners, lesson, 1)["silhouette"]
    assert losses[0.0][0] == losses[0.9][0] > 0
    assert losses[0.9][1] > 1.2 * losses[0.0][1], "of a head with holes"


def test_new_people_learn_with_it(head, tmp_path):
    films = make_filmed_set(tmp_path / "films", head)
    asked = FinetuneConfig(films, "p0", tmp_path, tmp_path / "out")
    taught = stage2_config(asked, films_of(asked))
    assert taught.avatar_dropout == DROPOUT > 0
    assert Stage2Config().avatar_dropout == 0
    with pytest.raises(InputError, match="avatar_dropout: expected at least 0, below 1, found 1"):
        replace(Stage2Config(data=Path("x")), avatar_dropout=1.0)
