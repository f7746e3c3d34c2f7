"""Places and ids of edits, by hand."""

import torch

from agents.models.heads import EditHead


def _head(width=2, **weights):
    head = EditHead(width, device=torch.device("cpu"))
    with torch.no_grad():
        for name, value in weights.items():
            head.get_parameter(f"_{name}").copy_(torch.tensor(value))
    return head


HIDDEN = torch.tensor(
    [
        [[1.0, 0.0], [0.0, 1.0], [2.0, 3.0], [float("nan"), float("nan")]],
        [[1.0, 0.0], [4.0, 1.0], [5.0, 5.0], [1.0, 2.0]],
    ]
)
LENGTHS = torch.tensor([3, 4])
POINTER = {"pointer.weight": [[0.0, 1.0], [1.0, 0.0]], "pointer.bias": [1.0, 0.0]}


def test_places_are_scored_by_the_last_state():
    """By hand: the query of (2, 3) is (3 + 1, 2), that of (1, 2) is (2 + 1, 1); over sqrt(2).

    The place behind a text has the state (1, -1), and padding is not read, whatever stands there.
    """
    head = _head(**POINTER, behind=[1.0, -1.0])
    expected = torch.tensor(
        [[4.0, 2.0, 4 * 2 + 2 * 3, 4 - 2, 0, 0], [3.0, 3 * 4 + 1, 20.0, 3 + 2, 3 - 1, 0]]
    )
    actual = head.place_logits(HIDDEN, LENGTHS, 6)
    torch.testing.assert_close(expected / 2**0.5, actual)
    full = head.place_logits(HIDDEN, LENGTHS, 4)  # no room behind a text that fills its row
    torch.testing.assert_close(expected[:, :4] / 2**0.5, full)


def test_ids_are_judged_before_the_place_with_the_place_and_the_end_in_view():
    """By hand, with (last, here) projected to (10 last_0 + here_1, -1)."""
    head = _head(
        **{
            "context.weight": [[10.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]],
            "context.bias": [0.0, -1.0],
            "behind": [1.0, -1.0],
        }
    )
    inside = head.token_states(HIDDEN, LENGTHS, torch.tensor([2, 1]))
    # Row 0 writes at place 2, so before it is (0, 1), here and last is (2, 3).
    # Row 1 writes at place 1: before (1, 0), here (4, 1), last (1, 2).
    assert inside.tolist() == [[0 + 20 + 3, 1 - 1], [1 + 10 + 1, 0 - 1]]
    behind = head.token_states(HIDDEN, LENGTHS, LENGTHS)
    assert behind.tolist() == [[2 + 20 - 1, 3 - 1], [1 + 10 - 1, 2 - 1]]


def test_a_new_head_and_a_silent_one_leave_it_to_the_language_model():
    learned = _head(**POINTER, **{"context.bias": [1.0, 1.0]})
    for head in (_head(), learned):
        head.silent = head is learned
        assert not head.place_logits(HIDDEN, LENGTHS, 6).any()
        states = head.token_states(HIDDEN, LENGTHS, torch.tensor([3, 2]))
        assert states.tolist() == [[2.0, 3.0], [4.0, 1.0]]
