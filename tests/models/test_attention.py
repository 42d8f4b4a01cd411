"""Faults noticed: rotary sign or pairing wrong, reach off by one, a padded key visible, a query subset rotated by the wrong frames."""

import torch

from mango.models.attention import Rotary, SelfAttention, split_heads, visible


def test_rotary_scores_depend_on_distance_only():
    like = torch.zeros((), dtype=torch.float64)
    rotary = Rotary.of_frames(20, 8, like)
    q, k = torch.randn(2, 8, dtype=torch.float64)
    queries, keys = rotary(q.expand(1, 20, 8)), rotary(k.expand(1, 20, 8))
    scores = (queries @ keys.mT)[0]
    for distance in (-7, 0, 3):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert abs(scores[0, 3] - scores[3, 0]) > 1e-6, "before and after differ"
    torch.testing.assert_close(queries.norm(dim=-1), q.norm().expand(1, 20))


def test_visible_frames_by_hand():
    keep = torch.tensor([[True, True, True, False]])
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(visible(keep, reach=1)[0, 0], expected)


def test_the_first_tokens_alone_equal_the_first_of_all():
    torch.manual_seed(0)
    attention = SelfAttention(16, 2)
    tokens = torch.randn(3, 10, 16)
    rotary, mask = Rotary.of_frames(10, 8, tokens), torch.ones(3, 1, 10, 10, dtype=torch.bool).tril()
    whole = attention(tokens, mask, rotary)
    torch.testing.assert_close(attention(tokens, mask[:, :, :5], rotary, queries=5), whole[:, :5])


def test_attention_against_the_naive_form():
    torch.manual_seed(0)
    attention = SelfAttention(16, 2).double()
    tokens = torch.randn(1, 6, 16, dtype=torch.float64)
    rotary, mask = Rotary.of_frames(6, 8, tokens), visible(torch.ones(1, 6, dtype=torch.bool), 2)
    q, k, v = (split_heads(x, 2) for x in attention.queries_keys_values(tokens).chunk(3, dim=-1))
    scores = (rotary(q) @ rotary(k).mT / 8**0.5).masked_fill(~mask, float("-inf")).softmax(-1)
    torch.testing.assert_close(attention(tokens, mask, rotary), attention.out((scores @ v).transpose(1, 2).flatten(2)))
