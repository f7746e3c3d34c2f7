"""What is collected is what was sampled, and what the environment paid for it."""

import dataclasses

import gymnasium as gym
import pytest
import torch

from agents.maths.distributions import Sampling, sample
from agents.maths.masks import unpack_mask
from agents.models.policy import TransformerPolicy
from agents.rollouts import recorder
from agents.rollouts.collect import collect
from agents.rollouts.rollout import Rollout
from tests.agents.toys import make_model, make_toy
from tests.benchmarks.shapes import Shape, make_envs
from textgym.types import StopReason


def _collect(policy, envs, seed=0, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    kwargs = {"sampling": Sampling()} | kwargs
    return collect(envs, policy, generator=generator, **kwargs)


def _evaluate(policy, rollout, temperature=1.0):
    with torch.no_grad():
        return policy.evaluate(rollout, temperature=temperature)


def test_the_ids_are_those_that_were_sampled(policy):
    """Prompt and actions stand in the tokens as they are, the end of text included."""
    envs = make_toy(rows=32)
    rollout = _collect(policy, envs)
    for row in range(32):
        start, n = int(rollout.prompt_lengths[row]), int(rollout.mask[row].sum())
        actions = rollout.actions[row, :n].tolist()
        assert rollout.tokens[row, start : start + n].tolist() == actions
        assert rollout.completions()[row] == actions
        assert not rollout.tokens[row, start + n :].any()
        assert envs.tokenizer.eos_id not in actions[:-1]
        ended = rollout.stop_reasons[row] == StopReason.END_OF_TEXT
        assert ended == (actions[-1] == envs.tokenizer.eos_id)
        if not ended:
            assert n == envs.completion_tokens


def test_the_score_is_paid_at_the_last_action_and_nowhere_else(policy):
    """Also a score of 0 counts as one: it is neither missing nor moved."""
    rollout = _collect(policy, make_toy(rows=32))
    last = rollout.mask.sum(dim=1) - 1
    paid = rollout.rewards[torch.arange(32), last]
    torch.testing.assert_close(torch.tensor(rollout.scores).float(), paid)
    assert float(rollout.rewards.sum()) == pytest.approx(float(paid.sum()))


def test_stored_log_probs_and_values_are_the_policys(policy):
    """The sampler's numbers are the update's numbers."""
    torch.nn.init.normal_(policy.value_head.weight)
    rollout = _collect(policy, make_toy(rows=16))
    full = _evaluate(policy, rollout)
    torch.testing.assert_close(full.log_probs, rollout.log_probs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(full.values, rollout.values, atol=1e-5, rtol=1e-4)


def test_the_same_seed_collects_the_same(policy):
    first, second, other = (
        _collect(policy, make_toy(), seed=seed, example_ids=list(range(8))) for seed in (3, 3, 4)
    )
    assert torch.equal(first.tokens, second.tokens)
    assert not torch.equal(first.actions, other.actions)


def test_the_given_examples_are_the_prompts(policy):
    envs = make_toy(rows=4)
    _collect(policy, envs, example_ids=[7, 0, 0, 3])
    assert envs.texts()[0] == ["h", "a", "a", "d"]


def test_an_outside_limit_truncates_and_pays_nothing(policy):
    envs = make_toy(rows=32, max_episode_steps=2)
    rollout = _collect(policy, envs)
    cut = rollout.truncated
    assert cut.any()
    assert not rollout.rewards[cut].any()
    assert torch.isnan(torch.tensor(rollout.scores))[cut].all()
    assert (rollout.mask.sum(dim=1)[cut] == 2).all()


@pytest.mark.parametrize("wrong", [{"backend": "numpy"}, {"autoreset_mode": "NextStep"}])
def test_an_environment_made_otherwise_is_refused(policy, wrong):
    kwargs = {"backend": "torch", "autoreset_mode": "Disabled"} | wrong
    envs = gym.make_vec("TextGym/Bandit-v0", num_envs=2, **kwargs).unwrapped
    with pytest.raises(ValueError, match='backend="torch", autoreset_mode="Disabled"'):
        _collect(policy, envs)


def test_an_environment_on_another_device_is_refused(policy):
    with pytest.raises(ValueError, match="on meta and the policy on cpu: make the environ"):
        _collect(policy, make_toy(device="meta"))


def test_a_vocabulary_that_does_not_fit_is_refused():
    policy = TransformerPolicy(make_model(vocabulary=12))
    with pytest.raises(ValueError, match="12 actions, the environment's tokenizer 11 ids"):
        _collect(policy, make_toy())


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.5, top_k=3), Sampling(top_p=0.7)],
    ids=["all", "top_k", "top_p"],
)
def test_how_many_rows_there_are_changes_nothing(kind, sampling):
    """Rows that end and restart at different times write what rows in lockstep write."""
    policy = TransformerPolicy(make_model(kind))
    torch.nn.init.normal_(policy.value_head.weight)
    ids = [i % 8 for i in range(32)]
    lockstep, ragged = (
        _collect(policy, make_toy(rows=rows), example_ids=ids, sampling=sampling)
        for rows in (32, 5)
    )
    assert ragged.mask.sum(dim=1).unique().numel() > 2  # they do end at different times
    for name in ("tokens", "actions", "mask", "lengths", "places", "rewards"):
        assert torch.equal(getattr(lockstep, name), getattr(ragged, name)), name
    assert torch.equal(lockstep.legal, ragged.legal)
    torch.testing.assert_close(lockstep.log_probs, ragged.log_probs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(lockstep.values, ragged.values, atol=1e-5, rtol=1e-4)
    assert ragged.example_ids.tolist() == ids


@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=0.5), Sampling(top_k=2), Sampling(temperature=2.0, top_p=0.5)],
    ids=["cold", "top_k", "top_p"],
)
def test_log_probs_are_normalised_over_what_could_be_drawn(policy, sampling):
    """Raw log-probabilities beside a truncated sampler would make every ratio wrong."""
    rollout = _collect(policy, make_toy(rows=32), sampling=sampling)
    full = _evaluate(policy, rollout, sampling.temperature)
    torch.testing.assert_close(full.log_probs, rollout.log_probs, atol=1e-5, rtol=1e-4)
    if sampling.top_k is not None:
        kept = unpack_mask(rollout.kept, policy.vocab_size)[rollout.mask]
        assert (kept.sum(dim=-1) == sampling.top_k).all()
        assert kept.gather(-1, rollout.actions[rollout.mask][:, None]).all()
    assert (rollout.kept is None) == sampling.keeps_all
    without = _evaluate(policy, dataclasses.replace(rollout, kept=None), sampling.temperature)
    torch.testing.assert_close(without.log_probs, full.legal_log_probs)
    assert rollout.legal.ndim == 1  # what the environment allows is what it was


VOCABULARY = 50_000


@pytest.fixture(scope="module")
def wide():
    """A policy of 50,000 ids whose logits are far apart, and where it acts."""
    model = make_model("llama", VOCABULARY, width=8)
    with torch.no_grad():
        model.lm_head.weight.normal_(std=3)
    envs = make_envs(Shape(VOCABULARY, 0, 0, 0), rows=3, prompt=4, new=6)
    return TransformerPolicy(model), envs


def _kept_as_bits(policy, envs, sampling, monkeypatch):
    monkeypatch.setattr(recorder, "ids_are_smaller", lambda *_: False)
    rollout = _collect(policy, envs, example_ids=range(5), sampling=sampling)
    monkeypatch.undo()
    return rollout


@pytest.mark.parametrize(
    "sampling", [Sampling(top_k=40), Sampling(top_p=0.9), Sampling(top_k=40, top_p=0.5)]
)
def test_what_was_kept_of_many_ids_is_a_list_of_a_few(wide, sampling, monkeypatch):
    """As ids and as bits it is the same set, and all that is made of it is the same to the bit."""
    monkeypatch.setattr(recorder, "_MOST_WAITING", 4)  # of six steps
    as_ids = _collect(*wide, example_ids=range(5), sampling=sampling)
    as_bits = _kept_as_bits(*wide, sampling, monkeypatch)
    assert torch.equal(as_ids.tokens, as_bits.tokens)
    masks = [unpack_mask(each.kept, VOCABULARY)[each.mask] for each in (as_ids, as_bits)]
    assert torch.equal(*masks)
    assert (as_ids.kept[~as_ids.mask] == 0).all()
    largest = int(masks[1].sum(dim=1).max())
    assert (as_ids.kept.dtype, as_ids.kept.shape[2]) == (torch.int32, largest)
    assert as_bits.kept.nbytes == as_bits.mask.numel() * 6250
    assert as_ids.kept.nbytes == as_ids.mask.numel() * 4 * largest
    told = [wide[0].evaluate(each) for each in (as_ids, as_bits)]
    for name in ("log_probs", "unlimited"):
        gradients = [
            torch.autograd.grad(getattr(each, name).sum(), wide[0].head.weight, retain_graph=True)
            for each in told
        ]
        assert torch.equal(*(getattr(each, name) for each in told))
        assert torch.equal(*(each[0] for each in gradients))


def test_where_more_is_kept_than_ids_have_room_for_it_is_bits(wide, monkeypatch):
    """Of logits that are all alike, nine tenths of the mass are nine tenths of the ids.

    The first text ends before the sets of the others are known, which begin as ids.
    """
    policy, envs = wide
    narrow, flat = Sampling(top_k=3), Sampling(temperature=1e4, top_p=0.9)
    kept = recorder.KeptSets((5, 6), in_bits=False)
    uniform = torch.rand(3, generator=torch.Generator().manual_seed(0))
    logits, every = torch.randn(3, VOCABULARY), torch.ones(VOCABULARY, dtype=torch.bool)
    expected = torch.zeros((5, 6, VOCABULARY), dtype=torch.bool)
    for step, sampling in enumerate((narrow, flat, narrow)):
        at = torch.tensor([0, 2, 4]), torch.full((3,), step)
        expected[at] = sample(logits, every, uniform, sampling)[2]
        kept.note(at, expected[at])
        kept.settle()
    assert kept.result().dtype is torch.uint8
    assert torch.equal(expected, unpack_mask(kept.result(), VOCABULARY))
    rollout = _collect(policy, envs, example_ids=range(5), sampling=flat)
    assert rollout.kept.dtype is torch.uint8
    few = _collect(policy, envs, example_ids=range(5), sampling=narrow)
    joined = unpack_mask(Rollout.join([few, rollout]).kept, VOCABULARY)
    for own, found in zip((few, rollout), joined.split(5), strict=True):
        steps = own.mask.shape[1]
        assert torch.equal(unpack_mask(own.kept, VOCABULARY), found[:, :steps])


def test_a_conversation_is_followed_through_its_replies(policy):
    """The other side's words enter the cache; only the agent's own are actions."""
    envs = make_toy("Guess", rows=6, completion_tokens=24)
    policy = TransformerPolicy(make_model(vocabulary=envs.tokenizer.vocab_size))
    rollout = _collect(policy, envs)
    full = _evaluate(policy, rollout)
    torch.testing.assert_close(full.log_probs, rollout.log_probs, atol=1e-5, rtol=1e-4)
    gaps = rollout.places.diff(dim=1)[rollout.mask[:, 1:]]
    assert (gaps > 1).any()
    state = envs.dynamics_state
    for row in range(6):
        own = rollout.actions[row][rollout.mask[row]]
        assert torch.equal(state.tokens[row][state.authored[row].bool()], own)


def test_fewer_examples_than_rows_are_refused(policy):
    with pytest.raises(ValueError, match="3 examples for 8 rows"):
        _collect(policy, make_toy(), example_ids=[0, 1, 2])


def test_texts_that_the_model_cannot_read_are_refused(policy):
    with pytest.raises(ValueError, match="have 101 tokens and the model reads at most 64"):
        _collect(policy, make_toy(completion_tokens=99))


@pytest.mark.parametrize("tokens", [1, 2])
def test_choosing_stores_what_could_be_chosen(tokens):
    """Of single tokens and of phrases, by which a text grows by more than one place."""
    phrases = {1: ["a", "b", "c", "d"], 2: ["ab", "c", "de", "fgh"]}[tokens]
    envs = make_toy(
        "Alphabet-Choose", rows=16, proposer="list", proposer_kwargs={"phrases": phrases}
    )
    policy = TransformerPolicy(make_model())
    torch.nn.init.normal_(policy.value_head.weight)
    lockstep = _collect(policy, envs, example_ids=[i % 8 for i in range(32)])
    full = _evaluate(policy, lockstep)
    torch.testing.assert_close(full.log_probs, lockstep.log_probs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(full.values, lockstep.values, atol=1e-5, rtol=1e-4)
    eos = envs.tokenizer.eos_id
    for row in range(32):
        written = []
        for t in range(int(lockstep.mask[row].sum())):
            phrase = lockstep.candidates[row, t, lockstep.actions[row, t]]
            written += phrase[phrase != lockstep.pad_id].tolist()
        completion = lockstep.completions()[row]
        assert written[: len(completion)] == completion
    assert (lockstep.candidates[..., 0, 0][lockstep.mask] == eos).all()


def test_a_candidate_of_one_token_has_the_token_s_own_probability():
    """Among all letters, choosing is writing: the language model under a mask."""
    envs = make_toy(
        "Alphabet-Choose", rows=8, proposer="list", proposer_kwargs={"phrases": list("abcd")}
    )
    policy = TransformerPolicy(make_model())
    rollout = _collect(policy, envs)
    ids = [envs.tokenizer.eos_id, *(envs.tokenizer.encode(letter)[0] for letter in "abcd")]
    first = rollout.tokens[torch.arange(8)[:, None], torch.arange(2)]
    assert rollout.places[:, 0].tolist() == [1] * 8
    logits = policy.model(input_ids=first).logits[:, -1, ids]
    expected = logits.log_softmax(-1)
    offered = rollout.candidates[:, 0, :, 0]
    for row in range(8):
        number = ids.index(int(offered[row, rollout.actions[row, 0]]))
        torch.testing.assert_close(expected[row, number], rollout.log_probs[row, 0])
