"""A policy that edits: its distribution, its rollouts, and what every learner makes of them."""

import dataclasses
import itertools

import gymnasium as gym
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from agents.best_of_n import best_of_n
from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.maths.distributions import Sampling
from agents.maths.masks import pack_mask, unpack_mask
from agents.models.edits import EditIds, legal_ids_at
from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.rollouts.collect import collect
from agents.rollouts.editor import choose_edits
from agents.training.guards import save_failed_batch
from tests.agents.toys import VOCABULARY, episodes, make_model, make_toy
from textgym.dynamics.edit import legal_edits, permits_edit
from textgym.dynamics.states import Rules, State
from textgym.pretrained.adapters import AdapterConfig, add_adapters
from textgym.types import StopReason

SPECIAL = EditIds(delete=0, insert=1)
EOS = 2
CONFIG = PPOConfig(iterations=6, minibatches=2, epochs=2, learning_rate=1e-3, kl_coefficient=0.1)


def _policy(kind="gpt2", critic=None, seed=0):
    """One whose edit head knows something, as far as it is known before any training."""
    policy = TransformerPolicy(make_model(kind), critic, edits=True)
    generator = torch.Generator().manual_seed(seed)
    for head in (policy.edit_head, policy.value_head):
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return policy


def _collect(policy, envs, seed=0, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    kwargs = {"sampling": Sampling()} | kwargs
    return collect(envs, policy, generator=generator, **kwargs)


def _evaluate(policy, rollout, rows=None, temperature=1.0):
    rows = torch.arange(len(rollout)) if rows is None else rows
    with torch.no_grad():
        return policy.evaluate(rollout, rows, temperature)


def _edits(tokens, lengths, actions, legal):
    """One edit of each text."""
    every = torch.ones(len(tokens), 1, dtype=torch.bool)
    places, legal, before = lengths[:, None] - 1, legal[:, None], tokens[:, None]
    return episodes(tokens, places, actions, every, legal, texts=before)


def _drafts(**kwargs):
    return make_toy("Alphabet-Edit", drafter_kwargs={"rate": 0.8}, **kwargs)


def _state(texts, prompt_lengths):
    """Right-padded texts of at most 5 places and the rules of a toy with 7 ids."""
    tokens = torch.tensor(texts)
    lengths = (tokens != 0).sum(dim=1)
    zero = torch.zeros_like(lengths)
    state = State(
        tokens=tokens,
        prompt_length=torch.tensor(prompt_lengths),
        length=lengths,
        steps=zero,
        stop_reason=zero + int(StopReason.RUNNING),
    )
    rules = Rules(
        prompt_tokens=2,
        completion_tokens=3,
        max_actions=9,
        pad_id=0,
        bos_id=1,
        eos_id=EOS,
        legal=torch.tensor([False, False, True, True, True, True, False]),  # 6 is forbidden
    )
    return state, rules


def test_the_pairs_that_remain_are_those_that_have_an_effect():
    """Everything the mask and ``legal_ids_at`` leave is permitted, and all that is permitted.

    An empty draft, a full one, one with a forbidden token, which can be replaced but not doubled.
    The one exception is the end of text, which is permitted at any place, the prompt's included.
    """
    state, rules = _state([[1, 3, 0, 0, 0], [1, 3, 4, 6, 0], [1, 4, 3, 5, 0]], [2, 2, 1])
    mask = legal_edits(state, rules)
    for row, (place, token) in itertools.product(range(3), itertools.product(range(5), range(7))):
        there = state.tokens[row, place][None]
        left = legal_ids_at(mask[row : row + 1, 5:], there, SPECIAL)[0]
        one = State(
            tokens=state.tokens[row : row + 1],
            prompt_length=state.prompt_length[row : row + 1],
            length=state.length[row : row + 1],
            steps=state.steps[row : row + 1],
            stop_reason=state.stop_reason[row : row + 1],
        )
        permitted = bool(permits_edit(one, torch.tensor([[place, token]]), rules)[0])
        if bool(mask[row, place]):
            assert bool(left[token]) == permitted, (row, place, token)
        else:
            assert not permitted or token == EOS, (row, place, token)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "mistral"])
def test_before_training_every_place_is_as_likely_and_ids_are_the_language_model_s(kind):
    """By transformers' own forward: the logits at the token before the place, under the mask."""
    policy = TransformerPolicy(make_model(kind), edits=True)
    envs = _drafts(rows=16)
    rollout = _collect(policy, envs)
    for row, step in rollout.mask.nonzero().tolist():
        text = rollout.texts[row, step][: rollout.places[row, step] + 1]
        place, token = rollout.actions[row, step].tolist()
        legal = rollout.legal[row, step]
        places, ids = unpack_mask(legal[:1], 8), unpack_mask(legal[1:], VOCABULARY)
        size = len(text) - int(rollout.prompt_lengths[row])
        assert int(places.sum()) == size + (size < envs.completion_tokens)
        logits = policy.model(input_ids=text[None]).logits[0, place - 1]
        expected = logits.masked_fill(~ids, -torch.inf).log_softmax(-1)[token] - places.sum().log()
        torch.testing.assert_close(expected, rollout.log_probs[row, step], atol=1e-5, rtol=1e-4)


def test_all_legal_edits_together_have_probability_one():
    """And no other has any, at a temperature and with a head that prefers some places."""
    policy = _policy()
    state, rules = _state([[1, 3, 5, 4, 0], [1, 3, 4, 5, 3]], [2, 2])
    mask = legal_edits(state, rules)
    mask = torch.cat([mask, torch.zeros(2, VOCABULARY - 7, dtype=torch.bool)], dim=1)
    total = torch.zeros(2)
    for place, token in itertools.product(range(1, 5), range(VOCABULARY)):
        ids = legal_ids_at(mask[:, 5:], state.tokens[:, place], SPECIAL)
        legal = torch.cat([pack_mask(mask[:, :5]), pack_mask(ids)], dim=1)
        action = torch.tensor([place, token]).expand(2, 1, 2)
        with torch.no_grad():
            edits = _edits(state.tokens, state.length, action, legal)
            log_prob = policy.evaluate(edits, temperature=0.7).log_probs[:, 0]
        may = mask[:, place] & ids[:, token]
        assert torch.equal(may, log_prob > -torch.inf)
        total += log_prob.exp()
    torch.testing.assert_close(torch.ones(2), total)


def test_entropies_are_those_of_places_and_of_ids_at_the_place():
    """Summed over the distributions as they stand, one edit after the other."""
    policy = _policy()
    rollout = _collect(policy, _drafts(rows=4))
    every = policy.evaluate(rollout, torch.arange(4), 1.0, entropies=True)
    for row, step in rollout.mask.nonzero().tolist():
        text = rollout.texts[row, step][None, : rollout.places[row, step] + 1]
        length, place = torch.tensor([text.shape[1]]), rollout.actions[row, step, :1]
        legal = rollout.legal[row, step]
        hidden = policy.trunk.full(text)
        logits = (
            policy.edit_head.place_logits(hidden, length, 8)[0][unpack_mask(legal[:1], 8)],
            policy.head(policy.edit_head.token_states(hidden, length, place))[0][
                unpack_mask(legal[1:], VOCABULARY)
            ],
        )
        expected = sum(torch.distributions.Categorical(logits=each).entropy() for each in logits)
        torch.testing.assert_close(expected, every.entropies[row, step], atol=1e-5, rtol=1e-4)


def test_the_entropy_s_gradient_is_that_of_the_whole_distribution_on_average():
    """Over all places, by hand: it lacked that a place is worth what its ids leave open."""
    policy, temperature = _policy(), 0.7
    state, rules = _state([[1, 3, 5, 4, 0]], [2])
    mask = legal_edits(state, rules)
    places = mask[0, :5].nonzero().squeeze(1)
    tokens, lengths = state.tokens.expand(len(places), 5), state.length.expand(len(places))
    ids = F.pad(mask[:, 5:], (0, VOCABULARY - 7)).expand(len(places), VOCABULARY)
    ids = legal_ids_at(ids, state.tokens[0, places], SPECIAL)
    hidden = policy.trunk.full(tokens[:, :4])
    pointer = policy.edit_head.place_logits(hidden[:1], lengths[:1], 5)[0, places] / temperature
    place = torch.distributions.Categorical(logits=pointer)
    logits = policy.head(policy.edit_head.token_states(hidden, lengths, places)) / temperature
    inside = torch.stack(
        [
            torch.distributions.Categorical(logits=row[may]).entropy()
            for row, may in zip(logits, ids, strict=True)
        ]
    )
    (place.entropy() + (place.probs * inside).sum()).backward()
    expected = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    legal = torch.cat([pack_mask(mask[:, :5]).expand(len(places), 1), pack_mask(ids)], dim=1)
    actions = torch.stack([places, torch.full_like(places, EOS)], dim=1)[:, None]
    edits = _edits(tokens, lengths, actions, legal)
    every = policy.evaluate(edits, temperature=temperature, entropies=True).entropies[:, 0]
    torch.testing.assert_close(place.entropy() + inside, every, atol=1e-5, rtol=1e-4)
    (place.probs.detach() * every).sum().backward()
    assert expected["edit_head._pointer.weight"].abs().max() > 1e-3
    for name, gradient in expected.items():
        actual = dict(policy.named_parameters())[name].grad
        torch.testing.assert_close(gradient, actual, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "mistral"])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.5, top_k=3), Sampling(temperature=2.0, top_p=0.6)],
    ids=["all", "top_k", "top_p"],
)
def test_the_update_s_numbers_are_the_sampler_s_whatever_the_rows(kind, sampling):
    """The same drafts, edits and numbers in 24 rows and in 5, and in one pass or text by text."""
    policy = _policy(kind)
    ids = [i % 8 for i in range(24)]
    lockstep, ragged = (
        _collect(policy, _drafts(rows=rows), example_ids=ids, sampling=sampling) for rows in (24, 5)
    )
    assert ragged.mask.sum(dim=1).unique().numel() > 2
    for name in ("tokens", "texts", "actions", "mask", "lengths", "places", "rewards", "legal"):
        assert torch.equal(getattr(lockstep, name), getattr(ragged, name)), name
    whole = _evaluate(policy, lockstep, temperature=sampling.temperature)
    alone = [
        _evaluate(policy, lockstep, rows, sampling.temperature)
        for rows in torch.arange(24).split(1)
    ]
    for name in ("log_probs", "values"):
        stored, every = getattr(lockstep, name), getattr(whole, name)
        torch.testing.assert_close(every, stored, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(getattr(ragged, name), stored, atol=1e-5, rtol=1e-4)
        one_by_one = torch.cat([getattr(each, name) for each in alone])
        torch.testing.assert_close(every, one_by_one, atol=1e-5, rtol=1e-4)


def test_what_is_stored_is_what_happened():
    """Each text follows from the one before it by the edit between them; the last one is kept."""
    envs = _drafts(rows=32)
    rollout = _collect(_policy(), envs)
    for row in range(32):
        count = int(rollout.mask[row].sum())
        lengths = rollout.places[row, :count] + 1
        before = [rollout.texts[row, t, : lengths[t]].tolist() for t in range(count)]
        after = [*before[1:], rollout.tokens[row, : rollout.lengths[row]].tolist()]
        for old, new, (place, token) in zip(
            before, after, rollout.actions[row].tolist(), strict=False
        ):
            expected = {
                EOS: old,
                SPECIAL.delete: old[:place] + old[place + 1 :],
                SPECIAL.insert: old[: place + 1] + old[place:],
            }.get(token, [*old[:place], token, *old[place + 1 :]])
            assert new == expected
        ended = rollout.stop_reasons[row] == StopReason.END_OF_TEXT
        assert ended == (rollout.actions[row, count - 1, 1] == EOS)
    kinds = set(rollout.actions[rollout.mask][:, 1].tolist())
    assert {SPECIAL.delete, SPECIAL.insert, EOS} < kinds


@pytest.mark.parametrize("drafter", ["corrupted", "empty"])
def test_no_edit_is_ever_illegal(drafter):
    """In an environment that would raise, with ids that may not be written, edit after edit."""
    envs = make_toy(
        "Alphabet-Edit",
        rows=32,
        drafter=drafter,
        max_actions=40,
        constraints={"forbid": ["a", "c"]},
        invalid_action="raise",
    )
    rollout = _collect(_policy(), envs, example_ids=[i % 8 for i in range(96)])
    assert rollout.num_actions > 300
    written = set(rollout.actions[rollout.mask][:, 1].tolist())
    assert not written & set(envs.tokenizer.encode("ac"))


def test_values_of_a_critic_are_its_own():
    policy = _policy(critic=make_model("llama", seed=3))
    rollout = _collect(policy, _drafts(rows=8))
    assert rollout.values is None
    row, step = rollout.mask.nonzero()[-1].tolist()
    text = rollout.texts[row, step][: rollout.places[row, step] + 1][None]
    with torch.no_grad():
        state = policy.critic.model(input_ids=text).last_hidden_state[0, -1]
        expected = policy.value_head(state)[0]
    torch.testing.assert_close(expected, _evaluate(policy, rollout).values[row, step])


def test_a_group_edits_one_draft():
    """Completions that are compared with each other started alike."""
    envs = _drafts(rows=4)
    policy = _policy()
    apart, together = (
        _collect(policy, envs, example_ids=[3] * 12, group=group).texts[:, 0] for group in (1, 6)
    )
    assert len(apart.unique(dim=0)) > 2
    assert len(together.unique(dim=0)) == 2
    for start in (0, 6):
        assert len(together[start : start + 6].unique(dim=0)) == 1
    with pytest.raises(ValueError, match="12 episodes are no whole groups of 5"):
        _collect(policy, envs, example_ids=[3] * 12, group=5)
    assert best_of_n(envs, policy, n=4, example_ids=[0, 1], seed=0).all_scores.shape == (2, 4)


def test_a_policy_that_cannot_edit_is_refused():
    with pytest.raises(ValueError, match=r"make it with TransformerPolicy\(model, edits=True\)"):
        PPO(TransformerPolicy(make_model()), _drafts(), CONFIG)


def test_a_policy_that_edits_writes_as_before():
    """The head is there for edits alone: the same object, in an environment that appends."""
    plain, edits = TransformerPolicy(make_model()), _policy()
    first, second = (
        _collect(policy, make_toy(rows=8), example_ids=list(range(8))) for policy in (plain, edits)
    )
    assert torch.equal(first.actions, second.actions)
    assert torch.equal(first.log_probs, second.log_probs)


def test_saving_and_loading_keeps_the_head(tmp_path):
    policy = _policy()
    policy.save_pretrained(tmp_path / "policy")
    loaded = TransformerPolicy.from_pretrained(tmp_path / "policy")
    rollout = _collect(policy, _drafts())
    expected, actual = _evaluate(policy, rollout), _evaluate(loaded, rollout)
    assert torch.equal(expected.log_probs, actual.log_probs)
    assert torch.equal(expected.values, actual.values)
    TransformerPolicy(make_model()).save_pretrained(tmp_path / "plain")
    assert TransformerPolicy.from_pretrained(tmp_path / "plain").edit_head is None
    fresh = TransformerPolicy.from_pretrained(tmp_path / "plain", edits=True)
    assert not any(parameter.any() for parameter in fresh.edit_head.parameters())


def _figures(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


LEARNERS = [
    (PPO, dataclasses.replace(CONFIG, top_k=5, temperature=0.8)),
    (PPO, dataclasses.replace(CONFIG, bf16=True)),
    (GRPO, GRPOConfig(group_size=4, minibatches=2, epochs=2, iterations=4)),
    (RLOO, RLOOConfig(group_size=4, iterations=4)),
    (Reinforce, ReinforceConfig(minibatches=2, iterations=4)),
    (DPO, DPOConfig(iterations=4, learning_rate=1e-3)),
]


@pytest.mark.parametrize(
    ("kind", "config"), LEARNERS, ids=["ppo", "bf16", "grpo", "rloo", "reinforce", "dpo"]
)
def test_two_and_two_iterations_are_four(kind, config, tmp_path):
    """Every learner edits, from the first ratio on, and a resume repeats its drafts as well."""
    straight, first = (kind(_policy(), _drafts(), config) for _ in range(2))
    expected = [_figures(straight.step()[0]) for _ in range(4)]
    for _ in range(2):
        first.step()
    first.save(tmp_path / "checkpoint")
    resumed = kind.load(tmp_path / "checkpoint", _drafts())
    assert expected[2:] == [_figures(resumed.step()[0]) for _ in range(2)]
    start = _policy().state_dict()
    for name, value in straight.policy.state_dict().items():
        assert torch.equal(value, resumed.policy.state_dict()[name]), name
        if name.startswith("edit_head"):
            assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize("settings", [{}, {"kl_in": "loss", "kl_estimator": "k3", "bf16": True}])
def test_adapters_and_an_edit_head_are_resumed_together(settings, tmp_path):
    """Both learn and have moments; the reference is the policy without either, before and after."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    base, config = tmp_path / "base", dataclasses.replace(CONFIG, learning_rate=1e-2, **settings)
    TransformerPolicy(make_model()).save_pretrained(base, _drafts().tokenizer)

    def made(seed):
        model, _ = load_model(base, lora=AdapterConfig(rank=4, seed=seed))
        return PPO(TransformerPolicy(model, edits=True), _drafts(), config)

    straight, first = made(0), made(0)
    expected = [_figures(straight.step()[0]) for _ in range(4)]
    for _ in range(2):
        first.step()
    first.save(tmp_path / "checkpoint")
    for resumed in (
        PPO.load(tmp_path / "checkpoint", _drafts()),
        made(5).restore(tmp_path / "checkpoint"),
    ):
        assert resumed.reference is None
        assert expected[2:] == [_figures(resumed.step()[0]) for _ in range(2)]
        for name, value in straight.policy.state_dict().items():
            assert torch.equal(value, resumed.policy.state_dict()[name]), name
    assert expected[3]["kl"] > 0.01


def test_a_warming_critic_leaves_the_edit_head_alone():
    """Which an entropy bonus would flatten, as it would the language model."""
    settings = {"critic_warmup": 1, "entropy_coefficient": 0.1, "kl_in": "loss"}
    ppo = PPO(_policy(), _drafts(), dataclasses.replace(CONFIG, **settings))
    before = {name: value.clone() for name, value in ppo.policy.state_dict().items()}

    def moved():
        now = ppo.policy.state_dict()
        return {name.split(".")[0] for name in now if not torch.equal(before[name], now[name])}

    ppo.step()
    assert moved() == {"value_head"}
    ppo.step()
    assert moved() == {"model", "edit_head", "value_head"}


def test_a_failed_batch_has_the_texts(tmp_path):
    rollout = _collect(_policy(), _drafts(rows=4))
    save_failed_batch(rollout, tmp_path / "batch.safetensors")
    assert torch.equal(rollout.texts, load_file(tmp_path / "batch.safetensors")["texts"])


def test_how_a_collection_is_cut_changes_no_gradient():
    """The texts of an episode go through together; a small part holds few episodes."""
    figures = []
    for most in (1, 4096):
        ppo = PPO(_policy(), _drafts(rows=16), dataclasses.replace(CONFIG, micro_batch_tokens=most))
        metrics, _ = ppo.step()
        figures.append([metrics[name] for name in ("gradient_norm", "policy_loss", "value_loss")])
    assert figures[0] == pytest.approx(figures[1], rel=1e-4)


def test_sizes_bound_what_is_read():
    """By hand: three edits of texts of at most 5 tokens are 15, one is 5."""
    rollout = _collect(_policy(), _drafts(rows=2))
    mask = torch.tensor([[True, True, True], [True, False, False]])
    places = torch.tensor([[2, 3, 2], [4, 9, 9]])
    given = dataclasses.replace(rollout, mask=mask, places=places)
    assert given.read_lengths.tolist() == [15, 5]
    assert torch.equal(dataclasses.replace(given, texts=None).read_lengths, rollout.lengths)


def test_predict_edits_one_text_or_many():
    """The likeliest id at the likeliest place, of arrays with their mask or of dictionaries."""
    ppo = PPO(_policy(), _drafts(rows=8), CONFIG)
    observations, _ = ppo.envs.reset(seed=3)
    legal = ppo.envs.action_masks()
    many, _ = ppo.predict(observations, deterministic=True, action_masks=legal)
    single = gym.make("TextGym/Alphabet-Edit-v0", drafter_kwargs={"rate": 0.8}, obs_mode="dict")
    for row in range(8):
        shown, _ = single.reset(seed=3 + row)
        assert shown["tokens"].tolist() == observations[row].tolist()
        one, _ = ppo.predict(shown, deterministic=True)
        assert one.tolist() == many[row].tolist()
        assert single.action_space.contains(one)
        state = ppo.envs.dynamics_state
        text = state.tokens[row : row + 1, : state.length[row]]
        with torch.no_grad():
            hidden = ppo.policy.trunk.full(text)
            scores = ppo.policy.edit_head.place_logits(hidden, state.length[row : row + 1], 8)[0]
        assert one[0] == scores.masked_fill(~legal[row, :8], -torch.inf).argmax()
    with pytest.raises(ValueError, match="do not say where the prompt ends"):
        ppo.predict(observations)
    drawn = {tuple(ppo.predict(shown)[0].tolist()) for _ in range(20)}
    assert len(drawn) > 1


def test_the_likeliest_edit_has_its_log_probability():
    policy, envs = _policy(), _drafts(rows=4)
    envs.reset(seed=0)
    state = envs.dynamics_state
    act = choose_edits(
        policy, state.tokens, state.length, envs.action_masks(), None, Sampling(), SPECIAL
    )
    edits = _edits(state.tokens, state.length, act.action[:, None], pack_mask(act.legal))
    full = policy.evaluate(edits)
    torch.testing.assert_close(full.log_probs[:, 0], act.log_prob, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(full.values[:, 0], act.value, atol=1e-5, rtol=1e-4)


def test_a_reference_without_adapters_has_no_head_either():
    """What KL is measured against stays the start, though the head is the policy's own."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    model = make_model()
    add_adapters(model, AdapterConfig(rank=4), base="here")
    policy = TransformerPolicy(model, edits=True)
    ppo = PPO(policy, _drafts(), dataclasses.replace(CONFIG, learning_rate=3e-2))
    assert ppo.reference is None
    start = TransformerPolicy(make_model(), edits=True)
    for _ in range(2):
        _, rollout = ppo.step()
    expected = _evaluate(start, rollout, temperature=CONFIG.temperature).log_probs
    actual = ppo.reference_log_probs(rollout)
    torch.testing.assert_close(expected, actual, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected, ppo.evaluate(policy, rollout).log_probs, atol=1e-2)
