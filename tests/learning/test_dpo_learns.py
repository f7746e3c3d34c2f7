"""DPO on toys whose optimum is known, from given pairs and from its own."""

import numpy as np
import pytest
import torch

from agents.dpo import DPO, DPOConfig
from agents.maths.distributions import Sampling
from agents.measuring.baselines import policy_baseline
from agents.models.policy import TransformerPolicy
from agents.rollouts.collect import collect
from tests.agents.toys import episodes, make_model, make_toy
from textgym.tasks.value_iteration import optimal_return

pytestmark = pytest.mark.learning


def test_reaches_the_optimum_of_answers_that_follow_bradley_terry():
    """Rewards log 4, log 2 and 0 of a, b and c: a beats b 2 of 3 times, c 4 of 5; b beats c 2 of 3.

    Answers come in just these shares, so at beta .5 the optimum multiplies the reference by
    exp(reward / .5), which is 16, 4 and 1, up to one factor.
    """
    answers = {("a", "b"): 10, ("b", "a"): 5, ("a", "c"): 12, ("c", "a"): 3}
    answers |= {("b", "c"): 10, ("c", "b"): 5}
    pairs = [("", *pair) for pair, times in answers.items() for _ in range(times)]
    envs = make_toy("Bandit", rows=2)
    config = DPOConfig(
        iterations=300, episodes=2 * len(pairs), learning_rate=3e-3, beta=0.5, final_rate=0.0
    )
    dpo = DPO(TransformerPolicy(make_model(vocabulary=7)), envs, config, pairs=pairs)
    dpo.learn()
    bos, legal = torch.tensor([[envs.tokenizer.bos_id]]), dpo.pairs.legal
    zero, letters = torch.zeros((1, 1), dtype=torch.int64), envs.tokenizer.encode("abc")
    with torch.no_grad():
        learned, start = (
            torch.cat(
                [
                    p.evaluate(episodes(bos, zero, zero + letter, zero == 0, legal)).log_probs[0]
                    for letter in letters
                ]
            )
            for p in (dpo.policy, dpo.reference)
        )
    raised = (learned - start).exp()
    torch.testing.assert_close(raised / raised[2], torch.tensor([16.0, 4.0, 1.0]), rtol=0.1, atol=0)


def test_ranking_its_own_texts_finds_the_best_letter():
    """Online on Bandit: the optimum pays 1; uniform over the 5 actions earns .35."""
    config = DPOConfig(iterations=60, learning_rate=1e-3, minibatches=2, beta=0.1)
    policy = TransformerPolicy(make_model(vocabulary=7))
    dpo = DPO(policy, make_toy("Bandit", rows=64), config)
    history = [dpo.step()[0] for _ in range(config.iterations)]
    assert history[0]["reward"] < 0.55
    assert np.mean([step["reward"] for step in history[-5:]]) > 0.95


def test_ranking_its_own_texts_recites_the_alphabet_and_stops():
    """Online: the optimum is 1, chance is 0.094."""
    config = DPOConfig(iterations=200, learning_rate=1e-3, epochs=4, minibatches=2, beta=0.1)
    dpo = DPO(TransformerPolicy(make_model()), make_toy(rows=256), config)
    history = [dpo.step()[0] for _ in range(config.iterations)]
    assert history[0]["reward"] < 0.25
    assert np.mean([step["reward"] for step in history[-5:]]) > 0.9


def test_groups_of_eight_at_a_high_price_find_the_best_walk_from_every_place():
    """In 80 iterations of large steps; the mean of the best walks is .4875, chance is -.23."""
    envs = make_toy("Corridor", rows=256)
    config = DPOConfig(
        iterations=80, learning_rate=3e-3, epochs=4, minibatches=2, beta=1.0, group_size=8
    )
    model = make_model(vocabulary=envs.tokenizer.vocab_size)
    dpo = DPO(TransformerPolicy(model), envs, config)
    for _ in range(config.iterations):
        dpo.step()
    numbers = [row % envs.num_examples for row in range(256)]
    likeliest = policy_baseline(envs, dpo.policy, example_ids=numbers, seed=0)
    best = float(likeliest.scores[: envs.num_examples].mean())
    assert optimal_return(envs.task) == pytest.approx(best)


def _write(policy, episodes, seed):
    """Two texts of each letter in turn, and their scores, ``(episodes / 2, 2)``."""
    envs = make_toy(rows=256)
    rollout = collect(
        envs,
        policy,
        sampling=Sampling(),
        generator=torch.Generator().manual_seed(seed),
        example_ids=[number // 2 % 8 for number in range(episodes)],
    )
    written = zip(rollout.actions, rollout.mask, strict=True)
    texts = [envs.tokenizer.decode(actions[mask].tolist()) for actions, mask in written]
    return texts, rollout.scores.reshape(-1, 2)


def test_pairs_that_the_start_wrote_are_told_apart_and_leave_what_is_written_open():
    """Alphabet's optimum is 1 and chance .094; given pairs are learned, and yet end far below.

    Equation 7 knows differences within pairs alone. Those grow while the chosen texts' own
    probability falls, and it goes to texts that no pair has: nothing in the loss hinders it. With
    new pairs in every round the test above reaches the optimum.
    """
    policy = TransformerPolicy(make_model())
    texts, scores = _write(policy, 4096, seed=0)
    pairs = []
    for number, both in enumerate(scores):
        if both[0] != both[1]:
            better = 2 * number + int(both.argmax())
            pairs.append(("abcdefgh"[number % 8], texts[better], texts[better ^ 1]))
    config = DPOConfig(iterations=300, episodes=256, learning_rate=1e-3, epochs=1, minibatches=2)
    dpo = DPO(policy, make_toy(rows=256), config, pairs=pairs)
    history = [dpo.step()[0] for _ in range(config.iterations)]
    assert history[-1]["accuracy"] > 0.85
    assert history[-1]["chosen_log_prob"] < history[0]["chosen_log_prob"] - 1
    assert 0.2 < _write(policy, 1024, seed=9)[1].mean() < 0.5


def test_likely_chosen_texts_stay_likely_if_that_counts_too():
    """Pairs of random texts: comparing alone makes the chosen ones less likely, too."""
    letters = torch.randint(8, (2, 64, 4), generator=torch.Generator().manual_seed(0)).tolist()
    chosen, rejected = (["".join("abcdefgh"[n] for n in text) for text in each] for each in letters)
    pairs = list(zip("abcdefgh" * 8, chosen, rejected, strict=True))
    last = {}
    for weight in (0.0, 1.0):
        config = DPOConfig(
            iterations=100, episodes=64, learning_rate=1e-3, beta=0.1, sft_weight=weight
        )
        dpo = DPO(TransformerPolicy(make_model()), make_toy(rows=8), config, pairs=pairs)
        last[weight] = [dpo.step()[0] for _ in range(config.iterations)][-1]
    assert last[0.0]["accuracy"] > 0.75 < last[1.0]["accuracy"]
    assert last[0.0]["chosen_log_prob"] + 2 < last[1.0]["chosen_log_prob"]
