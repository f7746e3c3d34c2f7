"""Acting through the cache and reading whole texts are the same policy."""

import numpy as np
import pytest
import torch
from transformers import CohereConfig, CohereForCausalLM

from agents.forward import kv_cache
from agents.maths.distributions import Sampling, action_log_probs
from agents.maths.masks import pack_mask
from agents.models.policy import TransformerPolicy
from agents.rollouts.writer import Actor
from tests.agents.toys import VOCABULARY, episodes, make_model

LEGAL = torch.arange(VOCABULARY) >= 2
STEPS = 6


def _prompts(lengths, width=8):
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(3, VOCABULARY, (len(lengths), width), generator=generator)
    lengths = torch.tensor(lengths)
    return torch.where(torch.arange(width) < lengths[:, None], tokens, 0), lengths


def _last(policy, tokens, lengths, count, temperature=1.0):
    """Evaluates the last ``count`` tokens of each text."""
    places = lengths[:, None] - 1 - count + torch.arange(count)
    actions = tokens.gather(1, places + 1)
    every = torch.ones_like(actions, dtype=torch.bool)
    legal = torch.ones(VOCABULARY, dtype=torch.bool)
    return policy.evaluate(episodes(tokens, places, actions, every, legal), temperature=temperature)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("lengths", [[8, 8, 8], [1, 8, 3, 5]], ids=["even", "ragged"])
def test_cached_decoding_equals_the_full_forward(kind, lengths):
    """Log-probabilities and values, learned and rotary positions, ragged prompts included."""
    policy = TransformerPolicy(make_model(kind))
    torch.nn.init.normal_(policy.value_head.weight)
    tokens, lengths = _prompts(lengths)
    texts = torch.cat([tokens, torch.zeros(len(tokens), STEPS, dtype=torch.int64)], dim=1)
    steps, rows = [], torch.arange(len(texts))
    uniform = torch.rand(STEPS, len(texts), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        actor = Actor(policy, rows=len(texts), columns=8 + STEPS)
        actor.open(rows, tokens, lengths)
        for t in range(STEPS):
            act = actor.act(LEGAL, uniform[t], Sampling(temperature=0.7))
            texts[rows, lengths + t] = act.action
            actor.feed(act.action)
            steps.append((act.action, act.log_prob, act.value))
        actions, log_probs, values = (torch.stack(c, 1) for c in zip(*steps, strict=True))
        places = lengths[:, None] - 1 + torch.arange(STEPS)
        every = torch.ones_like(actions, dtype=torch.bool)
        full = policy.evaluate(episodes(texts, places, actions, every, LEGAL), temperature=0.7)
    torch.testing.assert_close(full.log_probs, log_probs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(full.values, values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3", "mistral"])
def test_a_row_does_not_depend_on_its_neighbours(kind):
    """Beside long texts, and after others have come and gone, a short one is as if alone."""
    policy = TransformerPolicy(make_model(kind))
    tokens, lengths = _prompts([8, 2, 5])
    busy, alone = Actor(policy, rows=3, columns=16), Actor(policy, rows=1, columns=16)
    with torch.no_grad():
        busy.open(torch.tensor([4, 9]), tokens[:2], lengths[:2])
        alone.open(torch.tensor([9]), tokens[1:2, :2], lengths[1:2])
        for token in (4, 9, 3, 5):
            busy.feed(torch.full_like(busy.rows, token))
            alone.feed(torch.tensor([token]))
            if token == 9:
                busy.close(busy.rows.numpy() == 4)
                busy.open(torch.tensor([7, 8]), tokens[[2, 0]], lengths[[2, 0]])
    assert busy.rows.tolist() == [9, 7, 8]
    torch.testing.assert_close(alone.logits()[0], busy.logits()[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize(
    ("pass_tokens", "begins", "passes"),
    [
        (None, None, [(5, 6)]),
        (13, None, [(2, 6), (2, 6), (1, 6)]),
        (1, None, [(1, 6)] * 5),
        (None, [4, 4, 0, 4, 0], [(2, 6)]),
        (6, [4, 4, 0, 4, 0], [(1, 6), (1, 6)]),
        (None, [3, 5, 8, 4, 9], [(5, 6)]),  # nobody begins as another, whatever they are called
    ],
)
def test_however_prompts_are_read_the_next_tokens_are_the_same(kind, pass_tokens, begins, passes):
    """All at once, a few at a time, and each of a group's once: rows, columns of each pass."""
    policy = TransformerPolicy(make_model(kind))
    tokens, lengths = _prompts([6, 6, 2, 6, 2])
    same = [0, 0, 2, 0, 2] if begins == [4, 4, 0, 4, 0] else range(5)
    tokens = tokens[list(same)]
    actor = Actor(policy, rows=5, columns=10, pass_tokens=pass_tokens)
    trunk, read, seen = actor._trunk, actor._trunk.read, []

    def noting(tokens, *given):
        seen.append(tuple(tokens.shape))
        return read(tokens, *given)

    trunk.read = noting
    with torch.no_grad():
        actor.open(torch.arange(5), tokens, lengths, None if begins is None else np.array(begins))
        torch.testing.assert_close(policy.next_logits(tokens, lengths), actor.logits())
        added = torch.tensor([3, 4, 5, 6, 7])  # from here on they differ
        actor.feed(added)
        longer = torch.cat([tokens, torch.zeros_like(tokens)], dim=1)
        longer[torch.arange(5), lengths] = added
        torch.testing.assert_close(policy.next_logits(longer, lengths + 1), actor.logits())
    assert passes == seen


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_columns_of_a_text_that_has_ended_are_given_up(kind, monkeypatch):
    """As soon as others begin, if they need less than half; what is left is still what was read."""
    monkeypatch.setattr(kv_cache, "_BLOCK", 4)
    policy = TransformerPolicy(make_model(kind))
    actor = Actor(policy, rows=3, columns=32)
    tokens, lengths = _prompts([8, 3, 5])
    texts = torch.cat([tokens, torch.zeros((3, 24), dtype=torch.int64)], dim=1)
    widths = []

    def feed(rows, token):
        actor.feed(torch.full((len(rows),), token))
        texts[rows, lengths[rows]] = token
        lengths[rows] += 1
        widths.append(actor._cache.width)

    def begin(row):
        actor.open(torch.tensor([row]), tokens[row, None], lengths[row, None])
        widths.append(actor._cache.width)

    with torch.no_grad():
        begin(0)
        for _ in range(10):
            feed([0], 7)
        begin(1)
        feed([0, 1], 4)
        actor.close(np.array([True, False]))
        feed([1], 5)  # nobody has begun
        begin(2)
        feed([1, 2], 3)
        expected = policy.next_logits(texts[1:], lengths[1:])
    # Of 8 and up to 19 tokens; then of 5, which have 8 columns, less than half of 20.
    assert widths == [8, *[12] * 4, *[16] * 4, 20, 20, 20, 20, 20, 8, 8]
    torch.testing.assert_close(expected, actor.logits(), atol=1e-5, rtol=1e-4)


def test_rows_that_grow_by_any_number_of_tokens_are_followed(policy):
    """By one through the cache, by more through a forward pass of their own."""
    tokens, _ = _prompts([8, 8, 8])
    begun = torch.tensor([3, 4, 5])
    followed, anew = (Actor(policy, rows=3, columns=8) for _ in "ab")
    with torch.no_grad():
        followed.open(torch.arange(3), tokens[:, :5], begun)
        followed.follow(tokens, begun + torch.tensor([1, 3, 1]))
        followed.follow(tokens, begun + torch.tensor([2, 4, 3]))
        anew.open(torch.arange(3), tokens, begun + torch.tensor([2, 4, 3]))
    torch.testing.assert_close(anew.logits(), followed.logits(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("padding", [0, 3, 17])
def test_padding_and_what_stands_in_it_change_nothing(policy, padding):
    tokens, lengths = _prompts([6, 4])
    plain = _last(policy, tokens, lengths, 2)
    longer = torch.cat([tokens, torch.full((2, padding), 7)], dim=1)
    longer[1, 4:] = 9
    padded = _last(policy, longer, lengths, 2)
    torch.testing.assert_close(plain.log_probs, padded.log_probs)
    torch.testing.assert_close(plain.values, padded.values)


def test_evaluate_is_what_the_language_model_says(policy):
    """The log-probability of the action at t is read one place before it."""
    tokens, _lengths = _prompts([8, 5])
    tokens[1, 5:] = torch.tensor([4, 5, 6])
    actions = torch.stack([tokens[0, 5:8], tokens[1, 2:5]])
    places = torch.tensor([[4, 5, 6], [1, 2, 3]])
    mask = torch.tensor([[True, True, True], [True, False, True]])
    packed = pack_mask(LEGAL.expand(2, 3, -1))
    logits = policy.model(input_ids=tokens).logits
    for legal in (LEGAL, packed):
        result = policy.evaluate(episodes(tokens, places, actions, mask, legal), temperature=0.7)
        for row, first in ((0, 5), (1, 2)):
            for t in range(3):
                every = action_log_probs(logits[row, first - 1 + t], LEGAL, 0.7)
                expected = every[tokens[row, first + t]] if mask[row, t] else torch.tensor(0.0)
                actual = result.log_probs[row, t]
                torch.testing.assert_close(expected, actual, atol=1e-5, rtol=1e-4)
        assert result.values[1, 1] == 0.0


def test_dropout_stays_off_whatever_the_mode():
    """Dropout in the update breaks the ratio at the first step."""
    policy = TransformerPolicy(make_model(dropout=0.5)).train()
    tokens, lengths = _prompts([6])
    first, second = (_last(policy, tokens, lengths, 2) for _ in "ab")
    assert torch.equal(first.log_probs, second.log_probs)


@pytest.mark.parametrize("critic", [False, True], ids=["shared", "critic"])
def test_saving_and_loading_keeps_values(critic, tmp_path):
    """The critic as well: a policy saved without it would be another agent."""
    policy = TransformerPolicy(make_model(), make_model("llama", seed=3) if critic else None)
    torch.nn.init.normal_(policy.value_head.weight)
    policy.save_pretrained(tmp_path)
    loaded = TransformerPolicy.from_pretrained(tmp_path)
    tokens, lengths = _prompts([6, 3])
    expected, actual = (_last(p, tokens, lengths, 2) for p in (policy, loaded))
    assert torch.equal(expected.log_probs, actual.log_probs)
    assert torch.equal(expected.values, actual.values)


def test_a_critic_has_its_own_trunk():
    """Its values come from it alone, and its gradient leaves the policy as it is."""
    policy = TransformerPolicy(make_model(), make_model(seed=3))
    torch.nn.init.normal_(policy.value_head.weight)
    tokens, lengths = _prompts([6, 3])
    result = _last(policy, tokens, lengths, 2)
    hidden = policy.critic.base_model(input_ids=tokens).last_hidden_state[0, 4]
    expected = policy.value_head(hidden)[0]
    torch.testing.assert_close(expected, result.values[0, 1])
    result.values.sum().backward()
    assert all(p.grad is None for p in policy.model.parameters())
    assert policy.critic.base_model.wte.weight.grad is not None


def test_a_frozen_copy_is_apart_and_can_be_narrower(policy):
    twin = policy.frozen_copy(torch.bfloat16)
    assert {p.dtype for p in twin.model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in twin.value_head.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in twin.parameters())
    assert twin.model.lm_head.weight is twin.model.transformer.wte.weight  # still tied
    with torch.no_grad():
        policy.model.transformer.wpe.weight += 1
    twin.copy_weights(policy)
    expected = policy.model.transformer.wpe.weight.bfloat16()
    assert torch.equal(expected, twin.model.transformer.wpe.weight)


def test_rotary_frequencies_keep_their_digits_in_a_narrow_copy():
    """In bfloat16 they would turn far positions by a wrong angle."""
    policy = TransformerPolicy(make_model("llama"))
    twin = policy.frozen_copy(torch.bfloat16)
    frequencies = policy.model.model.rotary_emb.inv_freq
    assert torch.equal(frequencies, twin.model.model.rotary_emb.inv_freq)


def test_a_critic_that_shares_weights_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="share weights"):
        TransformerPolicy(model, model)


def test_a_model_that_rescales_its_logits_is_refused():
    """Cohere multiplies its logits: reading the embedding alone would sample another policy."""
    model = CohereForCausalLM(
        CohereConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            logit_scale=0.1,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    with pytest.raises(ValueError, match="more to its logits"):
        TransformerPolicy(model)


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        TransformerPolicy.from_pretrained(tmp_path)


@pytest.mark.parametrize("narrow", ["weights", "autocast"])
def test_values_have_all_their_digits_in_bfloat16(narrow):
    """Around 20 there are 8 numbers of bfloat16 between two whole ones: values came in steps."""
    model = make_model()
    policy = TransformerPolicy(model.bfloat16() if narrow == "weights" else model)
    torch.nn.init.normal_(policy.value_head.weight, std=0.02)
    torch.nn.init.constant_(policy.value_head.bias, 20.0)
    tokens, _ = _prompts([8] * 40)
    given = episodes(tokens, torch.arange(7).expand(40, 7), tokens[:, 1:], tokens[:, 1:] > 0, LEGAL)
    values = policy.evaluate(given, bf16=narrow == "autocast").values
    assert values.dtype == torch.float32
    assert len(values.unique()) > 150
