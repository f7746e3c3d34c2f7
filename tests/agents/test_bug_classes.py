"""Errors that trainers of language models are known for, one test each: masks and probabilities.

The list below is of kinds of errors, and names what keeps each away; where a test elsewhere does,
it is not repeated here. ``test_bug_classes_in_training.py`` has those of the training loop.

1 positions depend on padding: test_bug_classes.py::test_padding_moves_no_position
2 log-probabilities read one place off: test_bug_classes.py::test_log_probs_of_two_lengths_by_hand
3 first ratio is not 1: test_bug_classes_in_training.py::test_the_first_ratio_is_one
4 dropout while acting or learning: test_bug_classes_in_training.py::test_dropout_moves_no_ratio
5 temperature forgotten: test_collect.py::test_log_probs_are_normalised_over_what_could_be_drawn
6 truncated sampler, raw log-probabilities: test_bug_classes.py::test_top_p_is_normalised_by_hand
7 temperature near zero:
    test_bug_classes.py::test_a_tiny_temperature_is_greedy_with_finite_gradients
8 padding that looks like the end: test_bug_classes.py::test_padding_with_the_end_of_text_is_no_end
9 what stands behind the end is read: test_bug_classes.py::test_padding_moves_no_position
10 score at another action: test_bug_classes_in_training.py::test_the_score_is_one_hot_at_the_end
11 penalty beside a stop token: test_bug_classes_in_training.py::test_another_stop_token_is_an_end
12 padding in the figures: test_bug_classes_in_training.py::test_padding_changes_no_figure
13 figures of one process only: test_distributed.py::test_two_processes_learn_what_one_does
14 gradient depends on its parts: test_ppo.py::test_how_a_minibatch_is_cut_changes_nothing
15 token means by process: test_distributed.py::test_two_processes_learn_what_one_does
16 KL estimator's sign or gradient: test_bug_classes.py::test_what_each_estimator_descends
17 KL in bfloat16: test_output_layer.py::test_only_the_products_are_narrow_under_autocast
18 another KL is logged: test_ppo.py::test_the_logged_kl_is_that_of_the_rollout
19 controller fed another KL: test_bug_classes_in_training.py::test_the_controller_sees_whole_texts
20 leave-one-out of one: test_advantages.py::test_leave_one_out_by_hand
21 NaN times zero: test_bug_classes.py::test_rubbish_outside_the_mask_reaches_no_gradient
22 one action is standardised: test_bug_classes.py::test_one_action_alone_is_standardised_to_zero
23 a score of 0 is missing: test_bug_classes_in_training.py::test_a_score_of_zero_is_a_score
24 a group without spread: test_advantages.py::test_group_advantages_by_hand
25 advantages across replies: test_bug_classes_in_training.py::test_replies_are_no_actions
26 returns without a critic:
    test_advantages.py::test_lambda_one_without_discount_is_return_minus_value
27 time limit taken for an end:
    test_ppo.py::test_a_truncated_row_is_bootstrapped_with_the_final_states_value and
    test_advantages.py::test_only_a_cut_off_row_is_bootstrapped
28 pairs that read the same: test_training.py::test_pairs_that_read_the_same_are_dropped_and_counted
29 head without a seed: test_transformer.py::test_the_head_comes_from_its_seed_alone
30 the end is trimmed: test_collect.py::test_the_ids_are_those_that_were_sampled
31 decoded and encoded again: test_bug_classes_in_training.py::test_ids_are_never_encoded_again
32 samples used unequally often:
    test_bug_classes_in_training.py::test_each_text_is_used_once_an_epoch
33 seeds by process: test_distributed.py::test_two_processes_learn_what_one_does
34 resume is another run: test_ppo.py::test_three_and_three_iterations_are_six
35 completions of a prompt counted twice:
    test_siblings.py::test_the_completions_of_a_prompt_stand_side_by_side
36 another engine samples: none, the policy samples;
    test_ppo.py::test_a_sampler_with_another_temperature_is_noticed
37 half of the model is saved: test_policy.py::test_saving_and_loading_keeps_values
38 reference learns: test_bug_classes_in_training.py::test_the_reference_is_apart_and_frozen
39 clip fractions are swapped: test_bug_classes.py::test_clip_fractions_have_a_direction
40 logits are written to: test_bug_classes.py::test_float32_logits_are_left_alone
41 logged reward without weights: test_resolving.py::test_a_list_is_a_weighted_sum
42 score depends on its batch: test_transformer.py::test_a_score_depends_on_neither_batch_nor_order
"""

import math
import re
from pathlib import Path

import pytest
import torch

from agents.maths.advantages import standardise
from agents.maths.distributions import Sampling, action_log_probs, kept_by, sample, shape_logits
from agents.maths.kl import k1, k2, k3
from agents.maths.losses import clipped_policy_loss, clipped_value_loss, token_weights, weighted_sum
from agents.models.output_layer import chosen_log_probs
from agents.models.policy import TransformerPolicy
from tests.agents.toys import VOCABULARY, episodes, make_model

EVERY = torch.ones(VOCABULARY, dtype=torch.bool)
TESTS = Path(__file__).parents[1]


def test_every_kind_of_error_has_its_test():
    """What the list above names is there, and no number is left out."""
    _, *entries = re.split(r"\n(?=\d+ )", __doc__ or "")
    assert list(range(1, 43)) == [int(entry.split()[0]) for entry in entries]
    for entry in entries:
        named = re.findall(r"(test_\w+\.py)::(test_\w+)", entry)
        assert named or ": none, " in entry, entry
        for file, test in named:
            assert any(f"def {test}(" in path.read_text() for path in TESTS.rglob(file)), entry


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("padding", [0, 3, 17])
@pytest.mark.parametrize("filler", [0, 2, 9])
def test_padding_moves_no_position(kind, padding, filler):
    """Learned and rotary positions: as if each text were alone and unpadded, whatever follows."""
    model = make_model(kind)
    policy = TransformerPolicy(model)
    torch.nn.init.normal_(policy.value_head.weight)
    texts = [torch.tensor([1, 5, 4, 9, 3, 7]), torch.tensor([1, 8, 3])]
    tokens = torch.full((2, 6 + padding), filler)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text
    places = torch.tensor([[3, 4], [0, 1]])
    actions = torch.tensor([[3, 7], [8, 3]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    with torch.no_grad():
        result = policy.evaluate(episodes(tokens, places, actions, mask, EVERY))
        for row, text in enumerate(texts):
            alone = model(input_ids=text[None], attention_mask=torch.ones_like(text[None])).logits
            expected = alone[0].log_softmax(-1)[places[row], actions[row]]
            torch.testing.assert_close(expected, result.log_probs[row], atol=1e-5, rtol=1e-4)
            states = model.base_model(input_ids=text[None]).last_hidden_state[0]
            expected = policy.value_head(states)[places[row], 0]
            torch.testing.assert_close(expected, result.values[row], atol=1e-5, rtol=1e-4)


class _Bigrams:
    """A trunk whose hidden state is the last token alone, so that log-probabilities are a table."""

    def full(self, tokens, wanted):
        return torch.nn.functional.one_hot(tokens.flatten()[wanted], 32).float()


def test_log_probs_of_two_lengths_by_hand(policy):
    """After 3 come 4, 5 and the end with 1/2, 1/4, 1/4; after 4 come 3 and the end with 1/8, 7/8.

    All other ids have equal chances, so reading one place early or late gives other numbers.
    """
    table = torch.zeros(32, VOCABULARY)
    table[3], table[4] = -torch.inf, -torch.inf
    table[3, [4, 5, 2]] = torch.tensor([0.5, 0.25, 0.25]).log()
    table[4, [3, 2]] = torch.tensor([0.125, 0.875]).log()
    with torch.no_grad():
        policy.head.weight.copy_(table.nan_to_num(neginf=-1e9).T)
    policy._trunk = _Bigrams()
    tokens = torch.tensor([[1, 3, 4, 3, 5, 2], [1, 6, 4, 2, 0, 0]])
    places = torch.tensor([[1, 2, 3, 4], [1, 2, 0, 0]])  # prompts of 2 ids
    actions = torch.tensor([[4, 3, 5, 2], [4, 2, 2, 2]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    result = policy.evaluate(episodes(tokens, places, actions, mask, EVERY)).log_probs
    eleventh = 1 / VOCABULARY
    expected = torch.tensor([[0.5, 0.125, 0.25, eleventh], [eleventh, 0.875, 1.0, 1.0]]).log()
    torch.testing.assert_close(expected, result.detach())


def test_top_p_is_normalised_by_hand():
    """Of .5, .3, .15 and .05 the first two reach .7, and have 5/8 and 3/8 then."""
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    for uniform, action, probability in ((0.6, 0, 0.625), (0.65, 1, 0.375), (0.999, 1, 0.375)):
        drawn, log_prob, kept = sample(
            logits, EVERY[:4], torch.tensor([uniform]), Sampling(top_p=0.7)
        )
        assert drawn.tolist() == [action]
        assert float(log_prob) == pytest.approx(math.log(probability), abs=1e-6)
        assert kept.tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("temperature", [1e-3, 1e-37])  # at which 900 overflows
def test_a_tiny_temperature_is_greedy_with_finite_gradients(temperature):
    """The sampler takes the likeliest, and the update's gradient of it is 0 rather than NaN."""
    logits = torch.tensor([[900.0, -900.0, 901.0], [5.0, 4.0, -torch.inf]])
    sampling = Sampling(temperature=temperature)
    actions, log_probs, _ = sample(logits, EVERY[:3], torch.tensor([0.99, 0.0]), sampling)
    assert actions.tolist() == [2, 0]
    assert log_probs.tolist() == [0.0, 0.0]
    hidden = torch.eye(2, requires_grad=True)
    weight = logits.nan_to_num(neginf=-1e9).T.clone().requires_grad_()
    chosen = chosen_log_probs(hidden, weight, None, actions, EVERY[:3], temperature)[0]
    chosen.sum().backward()
    assert chosen.tolist() == [0.0, 0.0]
    assert hidden.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert not weight.grad.any()


def test_padding_with_the_end_of_text_is_no_end(policy):
    """A model that pads with its end: one end is learned, the first, and padding none."""
    policy.model.config.pad_token_id = 2
    tokens = torch.tensor([[1, 5, 6, 2, 2, 2], [1, 5, 6, 4, 3, 2]])
    places = torch.tensor([[1, 2, 0, 0], [1, 2, 3, 4]])
    actions = torch.tensor([[6, 2, 2, 2], [6, 4, 3, 2]])
    mask = torch.tensor([[True, True, False, False], [True] * 4])

    def gradient(ids):
        policy.zero_grad()
        result = policy.evaluate(episodes(ids, places, actions, mask, EVERY))
        weighted_sum(result.log_probs, token_weights(mask)).backward()
        return result.log_probs.detach(), policy.head.weight.grad.clone()

    plain = tokens.clone()
    plain[0, 4:] = 0
    with_end, (log_probs, flow) = gradient(tokens), gradient(plain)
    assert (log_probs[actions == 2] != 0).tolist() == [True, False, False, True]
    torch.testing.assert_close(log_probs, with_end[0])
    torch.testing.assert_close(flow, with_end[1])


def _divergence_gradient(logits, other, *, forward):
    """By autograd from the definition: of KL(other || policy), or of KL(policy || other)."""
    leaf = logits.clone().requires_grad_()
    mine, theirs = leaf.log_softmax(-1), other.log_softmax(-1)
    first, second = (theirs, mine) if forward else (mine, theirs)
    (first.exp() * (first - second)).sum().backward()
    return leaf.grad


@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_what_each_estimator_descends(estimator):
    """By enumeration of the actions: k1 descends nothing, k2 KL(pi || ref), k3 KL(ref || pi)."""
    logits = torch.tensor([1.0, -0.5, 0.3, -2.0], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([-0.2, 0.4, 1.1, 0.0], dtype=torch.float64)
    log_ratio = logits.log_softmax(-1) - other.log_softmax(-1)
    probs = logits.detach().softmax(-1)
    (probs * estimator(log_ratio)).sum().backward()  # actions were drawn; only their terms move
    expected = {
        k1: torch.zeros(4, dtype=torch.float64),
        k2: _divergence_gradient(logits.detach(), other, forward=False),
        k3: _divergence_gradient(logits.detach(), other, forward=True),
    }[estimator]
    torch.testing.assert_close(expected, logits.grad, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, -torch.inf])
def test_rubbish_outside_the_mask_reaches_no_gradient(rubbish):
    """Wherever it stands, in what is learned or in what it is compared with."""
    mask = torch.tensor([[True, False, True]])
    good, bad = torch.tensor([[0.1, 0.0, -0.2]]), torch.tensor([[0.1, rubbish, -0.2]])

    def both(learned, given):
        leaf = learned.clone().requires_grad_()
        weights = token_weights(mask)
        loss = clipped_policy_loss(leaf, given, given, weights, 0.2).loss
        loss = loss + clipped_value_loss(leaf, given, given + 1, weights, 0.1)
        loss = loss + clipped_value_loss(leaf, given, given + 2, weights, None)
        loss.backward()
        return loss.detach(), leaf.grad

    expected = both(good, good * 2)
    for learned, given in ((bad, good * 2), (good, bad * 2), (bad, bad * 2)):
        loss, gradient = both(learned, given)
        torch.testing.assert_close(expected[0], loss)
        torch.testing.assert_close(expected[1], gradient)


def test_one_action_alone_is_standardised_to_zero():
    """And keeps its shape: a single number has no spread, and is not blown up."""
    x = torch.tensor([[7.0, torch.nan], [3.0, torch.inf]])
    mask = torch.tensor([[True, False], [False, False]])
    assert standardise(x, mask).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_clip_fractions_have_a_direction():
    """Two of eight actions became too rare, three too common, three are within."""
    ratio = torch.tensor([[0.5, 0.7, 1.5, 1.3, 1.21, 0.5, 1.5, 1.0]])
    advantages = torch.tensor([[-1.0, -2.0, 1.0, 2.0, 3.0, 1.0, -1.0, 1.0]])
    weights = token_weights(torch.ones(1, 8, dtype=torch.bool))
    result = clipped_policy_loss(ratio.log(), torch.zeros(1, 8), advantages, weights, 0.2)
    assert (float(result.clip_fraction_low), float(result.clip_fraction_high)) == (0.25, 0.375)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_float32_logits_are_left_alone(temperature):
    """Of any other dtype a copy is made anyway; of float32 only if somebody thought of it."""
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    copy, legal = logits.clone(), torch.tensor([True, False, True, True])
    shaped = shape_logits(logits, legal, temperature)
    again = shaped.clone()
    sampling = Sampling(temperature=temperature, top_k=2, top_p=0.6)
    kept_by(shaped, sampling)
    action_log_probs(logits, legal, temperature)
    sample(logits, legal, torch.tensor([0.1, 0.5, 0.9]), sampling)
    assert torch.equal(copy, logits)
    assert torch.equal(again, shaped)
