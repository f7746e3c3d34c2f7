"""Sets of actions are the same sets in every form, and take the room that they are said to."""

import pytest
import torch

from agents.maths.masks import (
    Form,
    bytes_of_bits,
    ids_are_smaller,
    in_form,
    pack_ids,
    pack_mask,
    unpack_mask,
)

SETS = [[2, 5, 39], [], [0], [39]]  # of 40 actions


def _mask(sets, size=40):
    return torch.tensor([[action in each for action in range(size)] for each in sets])


@pytest.mark.parametrize("size", [1, 7, 8, 9, 17])
def test_a_mask_is_eight_to_a_byte_the_first_lowest(size):
    masks = torch.rand(3, 2, size, generator=torch.Generator().manual_seed(size)) < 0.5
    packed = pack_mask(masks)
    assert packed.dtype is torch.uint8
    assert packed.shape == (3, 2, -(-size // 8))
    for mask, found in zip(masks.flatten(0, 1), packed.flatten(0, 1), strict=True):
        bits = [*mask.int().tolist(), *[0] * (-size % 8)]
        expected = [
            sum(bit << i for i, bit in enumerate(bits[at : at + 8])) for at in range(0, size, 8)
        ]
        assert found.tolist() == expected
    assert torch.equal(unpack_mask(packed, size), masks)


def test_ids_are_those_of_the_actions_plus_one_and_zeros_behind():
    packed = pack_ids(_mask(SETS))
    assert packed.dtype is torch.int32
    assert packed.tolist() == [[3, 6, 40], [0, 0, 0], [1, 0, 0], [40, 0, 0]]
    assert torch.equal(unpack_mask(packed, 40), _mask(SETS))
    assert torch.equal(unpack_mask(packed.view(2, 2, 3), 40), _mask(SETS).view(2, 2, 40))


def test_ids_are_smaller_as_long_as_there_are_fewer_than_a_thirty_second():
    """Four bytes each: 7 ids take 28 bytes, 224 actions as bits 28 as well, and 225 take 29."""
    assert [bytes_of_bits(size) for size in (1, 8, 9, 224, 225)] == [1, 1, 2, 28, 29]
    assert not ids_are_smaller(7, 224)
    assert ids_are_smaller(7, 225)


@pytest.mark.parametrize(
    ("forms", "common"),
    [
        ([(False, 3), (False, 5)], (False, 5)),
        ([(False, 900), (True, 5)], (True, 5)),
        ([(True, 5), (True, 5)], (True, 5)),
    ],
)
def test_what_is_packed_in_several_ways_is_brought_to_one(forms, common):
    assert Form.common([Form(*form) for form in forms]) == common


@pytest.mark.parametrize("form", [Form(in_bits=False, width=3), Form(False, 4), Form(True, 5)])
def test_a_set_in_another_form_is_the_same_set(form):
    packed = pack_ids(_mask(SETS)).view(2, 2, 3)
    changed = in_form(packed, form)
    assert Form.of(changed) == form
    assert torch.equal(unpack_mask(changed, 40), _mask(SETS).view(2, 2, 40))
    bits = pack_mask(_mask(SETS))
    assert in_form(bits, Form.of(bits)) is bits
