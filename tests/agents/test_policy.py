"""Acting through the cache and reading whole texts are the same policy."""

import pytest
import torch
from transformers import CohereConfig, CohereForCausalLM

from agents.decoding import action_log_probs
from agents.policy import Actor, TransformerPolicy
from tests.agents.models import VOCABULARY, make_model

LEGAL = torch.arange(VOCABULARY) >= 2
STEPS = 6


def _prompts(lengths, width=8):
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(3, VOCABULARY, (len(lengths), width), generator=generator)
    lengths = torch.tensor(lengths)
    return torch.where(torch.arange(width) < lengths[:, None], tokens, 0), lengths


def _write(policy, tokens, lengths):
    """Lets an actor write ``STEPS`` tokens; returns texts, actions, log-probs and values."""
    texts = torch.cat([tokens, torch.zeros(len(tokens), STEPS, dtype=torch.int64)], dim=1)
    generator = torch.Generator().manual_seed(1)
    steps = []
    with torch.no_grad():
        actor = Actor(policy, tokens, lengths)
        for t in range(STEPS):
            action, log_prob, value = actor.act(LEGAL, 0.7, generator)
            texts[torch.arange(len(texts)), lengths + t] = action
            actor.feed(action)
            steps.append((action, log_prob, value))
    return texts, *(torch.stack(column, 1) for column in zip(*steps, strict=True))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2"])
@pytest.mark.parametrize("lengths", [[8, 8, 8], [1, 8, 3, 5]], ids=["even", "ragged"])
def test_cached_decoding_equals_the_full_forward(kind, lengths):
    """Log-probabilities and values, learned and rotary positions, ragged prompts included."""
    policy = TransformerPolicy(make_model(kind))
    torch.nn.init.normal_(policy.value_head.weight)
    texts, actions, log_probs, values = _write(policy, *_prompts(lengths))
    with torch.no_grad():
        full = policy.evaluate(texts, torch.tensor(lengths), actions, LEGAL, 0.7)
    torch.testing.assert_close(full.log_probs, log_probs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(full.values, values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2"])
def test_a_row_does_not_depend_on_its_neighbours(kind):
    """A short prompt beside long ones is acted on as if it were alone."""
    policy = TransformerPolicy(make_model(kind))
    tokens, lengths = _prompts([2, 8])
    pair, alone = Actor(policy, tokens, lengths), Actor(policy, tokens[:1, :2], lengths[:1])
    for token in (4, 9, 3):
        for actor in (pair, alone):
            actor.feed(torch.full((len(actor._positions),), token))
    torch.testing.assert_close(alone._hidden[0], pair._hidden[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("padding", [0, 3, 17])
def test_padding_and_what_stands_in_it_change_nothing(policy, padding):
    tokens, lengths = _prompts([6, 4])
    actions = tokens[:, 2:4]
    plain = policy.evaluate(tokens, lengths - 2, actions, LEGAL.new_ones(VOCABULARY), 1.0)
    longer = torch.cat([tokens, torch.full((2, padding), 7)], dim=1)
    longer[1, 4:] = 9
    padded = policy.evaluate(longer, lengths - 2, actions, LEGAL.new_ones(VOCABULARY), 1.0)
    torch.testing.assert_close(plain.log_probs, padded.log_probs)
    torch.testing.assert_close(plain.values, padded.values)
    torch.testing.assert_close(plain.entropy, padded.entropy)


def test_evaluate_is_what_the_language_model_says(policy):
    """The log-probability of the action at t is read one place before it."""
    tokens, _lengths = _prompts([8, 5])
    tokens[1, 5:] = torch.tensor([4, 5, 6])
    actions = torch.stack([tokens[0, 5:8], tokens[1, 2:5]])
    result = policy.evaluate(tokens, torch.tensor([5, 2]), actions, LEGAL, 0.7)
    logits = policy.model(input_ids=tokens).logits
    for row, first in ((0, 5), (1, 2)):
        for t in range(3):
            every = action_log_probs(logits[row, first - 1 + t], LEGAL, 0.7)
            expected = every[tokens[row, first + t]]
            torch.testing.assert_close(expected, result.log_probs[row, t], atol=1e-5, rtol=1e-4)


def test_entropy_is_that_of_the_legal_actions(policy):
    """Illegal actions have probability 0 and add nothing, not NaN."""
    one = torch.zeros(VOCABULARY, dtype=torch.bool)
    one[5] = True
    tokens, lengths = _prompts([4])
    result = policy.evaluate(tokens, lengths - 1, torch.tensor([[5]]), one, 1.0)
    assert float(result.entropy) == 0.0
    assert result.log_probs.item() == 0.0


def test_dropout_stays_off_whatever_the_mode():
    """Dropout in the update breaks the ratio at the first step."""
    policy = TransformerPolicy(make_model(dropout=0.5)).train()
    tokens, lengths = _prompts([6])
    first, second = (policy.evaluate(tokens, lengths - 1, tokens[:, 5:6], LEGAL, 1.0) for _ in "ab")
    assert torch.equal(first.log_probs, second.log_probs)


def test_saving_and_loading_keeps_the_value_head(policy, tmp_path):
    torch.nn.init.normal_(policy.value_head.weight)
    policy.save_pretrained(tmp_path)
    loaded = TransformerPolicy.from_pretrained(tmp_path)
    tokens, lengths = _prompts([6, 3])
    for each in (policy, loaded):
        each.eval()
    expected, actual = (
        p.evaluate(tokens, lengths - 1, tokens[:, 2:4], LEGAL.new_ones(VOCABULARY), 1.0)
        for p in (policy, loaded)
    )
    assert torch.equal(expected.log_probs, actual.log_probs)
    assert torch.equal(expected.values, actual.values)


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
