"""Texts piece by piece are those of a single batch; a policy goes on from prompts in Python."""

import pytest
import torch

from agents import Sampling, generate
from agents.rollouts.texts import prompt_envs, unscored, write_texts
from textgym.cli.policy.policies import make_envs, make_policy
from textgym.tokenizers import CharacterTokenizer

SCRATCH = "scratch:gpt2?layers=1&width=16&heads=2"


def _play(rows, total=50, env="TextGym/Alphabet-v0", **arguments):
    """Its texts, and the environment as it is at the end."""
    envs = make_envs(env, arguments, num_envs=rows, device="cpu")
    policy = make_policy(SCRATCH, envs, device="cpu")
    ids = [number % envs.num_examples for number in range(total)]
    generator = torch.Generator().manual_seed(0)
    played = write_texts(envs, policy, ids, sampling=Sampling(), generator=generator)
    return list(played), envs


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_texts_in_pieces_are_those_of_one_batch(rows):
    """And no piece is larger than it has to be, nor smaller than there are rows."""
    ((*expected,),), _ = _play(50)
    pieces, _ = _play(rows)
    assert expected == [text for piece in pieces for text in piece]
    assert {rows <= len(piece) < 8 * rows for piece in pieces} == {True}
    assert len({text.completion for text in expected}) > 10


@pytest.mark.parametrize(
    ("env", "arguments"),
    [
        ("TextGym/Alphabet-Edit-v0", {"drafter_kwargs": {"rate": 0.8}}),
        ("TextGym/Alphabet-Choose-v0", {"proposer": "list"}),
        ("TextGym/Guess-v0", {"completion_tokens": 24}),
        ("TextGym/Guess-Choose-v0", {"completion_tokens": 24, "proposer": "list"}),
    ],
)
def test_completions_are_what_the_environment_says_of_them(env, arguments):
    """Also of what was chosen, and of a conversation, where the other side's turns are left out."""
    if "proposer" in arguments:
        phrases = ["ab", "cde", "f"] if "Alphabet" in env else ["12", "345", "6", "78"]
        arguments = {**arguments, "proposer_kwargs": {"phrases": phrases}}
    (piece,), envs = _play(40, 40, env, **arguments)
    prompts, completions = envs.texts()
    assert (prompts, completions) == (
        [text.prompt for text in piece],
        [text.completion for text in piece],
    )
    if "Guess" in env:
        assert max(completion.count("\n") for completion in completions) > 1


TOKENIZER = CharacterTokenizer("abcdefgh")
PROMPTS = ["ab", "c", "ab", "fgh"]


def test_a_policy_goes_on_from_each_prompt_whatever_the_rows(policy):
    written = generate(policy, PROMPTS, TOKENIZER, completion_tokens=5)
    assert len(written) == 4
    assert max(map(len, written)) <= 5
    assert written == generate(policy, PROMPTS, TOKENIZER, completion_tokens=5, rows=1)
    assert written != generate(policy, PROMPTS, TOKENIZER, completion_tokens=5, seed=1)


def test_almost_without_temperature_the_likeliest_letters_come(policy):
    ids = [TOKENIZER.bos_id, *TOKENIZER.encode("fgh")]
    for _ in range(4):
        logits = policy.model(input_ids=torch.tensor([ids])).logits[0, -1]
        logits[[TOKENIZER.pad_id, TOKENIZER.bos_id]] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == TOKENIZER.eos_id:
            break
    found = generate(
        policy, PROMPTS, TOKENIZER, completion_tokens=4, sampling=Sampling(temperature=1e-4)
    )
    assert found[3] == TOKENIZER.decode(ids[4:])


def test_prompts_that_nobody_can_go_on_from_are_refused(policy):
    with pytest.raises(ValueError, match="there is no prompt to go on from"):
        generate(policy, [], TOKENIZER)
    with pytest.raises(ValueError, match="is not in the alphabet"):
        generate(policy, ["z"], TOKENIZER)
    with pytest.raises(ValueError, match="the model reads at most"):
        generate(policy, ["a"], TOKENIZER, completion_tokens=10**4)


def test_nobody_scores_what_is_written_after_given_prompts(policy):
    assert unscored(["a", "b"], ["c", "d"]) == [0.0, 0.0]
    envs = prompt_envs(PROMPTS, TOKENIZER, completion_tokens=3, rows=2)
    generator = torch.Generator().manual_seed(0)
    pieces = write_texts(envs, policy, range(4), sampling=Sampling(), generator=generator)
    texts = [text for piece in pieces for text in piece]
    assert [text.prompt for text in texts] == PROMPTS
    assert [text.score for text in texts] == [0.0] * 4
