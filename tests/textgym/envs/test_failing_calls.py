"""A call that fails changes nothing; and what cannot mean anything is refused at once."""

import numpy as np
import pytest

from textgym import RewardError, TextEnv, TextVectorEnv

A, B, C = 3, 4, 5
PAD, BOS, EOS = 0, 1, 2


def length(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def endless(prompts, completions, **columns):
    return [1e308] * len(completions)


class Drafts:
    """Draws, and fails on request."""

    fail = False

    def draft(self, examples, generators):
        for generator in generators:
            generator.random()
        if self.fail:
            raise RuntimeError("no draft today")
        return [[A, B] for _ in examples]


class Proposals:
    """Proposes one letter, and fails on request."""

    num_candidates, num_tokens, fail = 1, 1, False

    def propose(self, tokens, length):
        if self.fail:
            raise RuntimeError("no idea")
        return np.full((len(tokens), 1, 1), A)


def test_a_reset_that_fails_leaves_the_episode_as_it_was():
    """The text of one example would be scored against another's columns."""
    env = TextEnv(task="Alphabet")
    env.reset(options={"example_id": 0})
    env.step(B)
    for options in ({"prompt": "?"}, {"example_id": 99}, {"prompt": 3}):
        with pytest.raises((ValueError, TypeError)):
            env.reset(options=options)
    assert env.text() == ("a", "b")
    env.step(C), env.step(6)
    assert env.step(EOS)[1] == 1.0


def test_a_reset_whose_proposals_fail_leaves_a_batch_as_it_was():
    proposals = Proposals()
    envs = TextVectorEnv(
        task="Alphabet", action_kind="choose", proposer=proposals, num_choices=2, num_envs=2
    )
    envs.reset(options={"example_id": np.array([0, 1])})
    proposals.fail = True
    with pytest.raises(RuntimeError, match="no idea"):
        envs.reset(options={"example_id": np.array([2, 3])})
    assert envs.texts() == (["a", "b"], ["", ""])


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_step_whose_autoreset_fails_is_paid_when_it_is_taken_again(mode):
    drafts = Drafts()
    envs = TextVectorEnv(
        task="Alphabet",
        action_kind="edit",
        drafter=drafts,
        reward=length,
        dense=True,
        num_envs=2,
        autoreset_mode=mode,
    )
    envs.reset(seed=0)
    steps = [np.array([[0, EOS], [2, C]])] + [np.array([[0, EOS], [0, EOS]])] * (mode == "NextStep")
    for action in steps[:-1]:
        envs.step(action)
    drafts.fail = True
    with pytest.raises(RuntimeError, match="no draft today"):
        envs.step(steps[-1])
    drafts.fail = False
    expected = [2.0, 2.0] if mode == "SameStep" else [0.0, 0.0]
    assert envs.step(steps[-1])[1].tolist() == expected


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("kind", ["choose", "edit"])
def test_an_autoreset_that_fails_draws_nothing(mode, kind):
    """The generators moved on, so that the next examples were not those of the single rows."""

    def make():
        helper = Proposals() if kind == "choose" else Drafts()
        kwargs = {"proposer": helper, "num_choices": 2} if kind == "choose" else {"drafter": helper}
        envs = TextVectorEnv(
            task="Alphabet", action_kind=kind, num_envs=2, autoreset_mode=mode, **kwargs
        )
        envs.reset(seed=0)
        return envs, helper

    (failing, helper), (sound, _) = make(), make()
    end = np.array([0, 0]) if kind == "choose" else np.array([[0, EOS]] * 2)
    if mode == "NextStep":
        failing.step(end), sound.step(end)
    for _ in range(3):
        helper.fail = True
        with pytest.raises(RuntimeError):
            failing.step(end)
        helper.fail = False
    assert states_of(sound) == states_of(failing)
    for _ in range(4):
        expected, actual = sound.step(end), failing.step(end)
        assert expected[0].tolist() == actual[0].tolist()
        assert states_of(sound) == states_of(failing)


def states_of(envs):
    return [generator.bit_generator.state for generator in envs.np_random]


@pytest.mark.parametrize("seed", [None, 3])
def test_a_reset_that_fails_draws_nothing_and_seeds_nothing(seed):
    """Neither in one text nor in a batch."""
    drafts = Drafts()
    kwargs = {"task": "Alphabet", "action_kind": "edit", "drafter": drafts}
    env, envs = TextEnv(**kwargs), TextVectorEnv(num_envs=2, **kwargs)
    env.reset(seed=0), envs.reset(seed=0)
    before = env.np_random.bit_generator.state, states_of(envs)
    drafts.fail = True
    for each in (env, envs):
        with pytest.raises(RuntimeError, match="no draft today"):
            each.reset(seed=seed)
    assert before == (env.np_random.bit_generator.state, states_of(envs))
    assert (env.np_random_seed, envs.np_random_seed) == (0, (0, 1))


def test_seeds_that_are_refused_seed_no_row():
    envs = TextVectorEnv(task="Alphabet", num_envs=2)
    envs.reset(seed=0)
    before = [generator.bit_generator.state for generator in envs.np_random]
    with pytest.raises(Exception, match="Seed must be"):
        envs.reset(seed=[1, -1])
    assert before == [generator.bit_generator.state for generator in envs.np_random]


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "much", None])
def test_a_weight_is_a_finite_number(weight):
    with pytest.raises(ValueError, match=r"the weight of .* must be a finite number, got"):
        TextEnv(task="Alphabet", reward=[[length, weight]])


def test_a_weighted_sum_that_is_not_finite_is_refused():
    env = TextEnv(task="Alphabet", reward=[[endless, 1], [endless, 1]])
    env.reset(seed=0)
    with pytest.raises(RewardError, match=r"the combination 'endless \+ endless' is inf; row 0"):
        env.step(EOS)


def test_no_part_of_a_reward_changes_what_another_sees():
    def greedy(prompts, completions, **columns):
        completions.clear()
        return [0.0]

    env = TextEnv(task="Alphabet", reward=[[greedy, 1.0], [length, 1.0]])
    env.reset(seed=0)
    env.step(A)
    assert env.step(EOS)[1] == 1.0


def test_a_column_may_be_called_self():
    from textgym.rewards import resolve

    assert resolve(length)(["p"], ["abc"], self=["me"]) == [3.0]
    assert resolve([[length, 2.0]])(["p"], ["abc"], self=["me"]) == [6.0]


@pytest.mark.parametrize("drafter", ["corrupted", "column:reference"])
def test_an_edit_of_a_prompt_of_one_s_own_starts_from_nothing(drafter):
    """It started from the text None."""
    env = TextEnv(task="Alphabet", action_kind="edit", drafter=drafter)
    env.reset(options={"prompt": "h"})
    assert env.text() == ("h", "")


def test_a_reward_that_needs_a_reference_says_so():
    env = TextEnv(task="Arithmetic")
    env.reset(options={"prompt": "1+1="})
    with pytest.raises(RewardError, match="there is no reference to compare with"):
        env.step(EOS)


@pytest.mark.parametrize("invalid_action", ["noop", "raise"])
def test_where_no_candidate_fits_the_end_of_text_is_the_way_out(invalid_action):
    """The mask said so, and the step refused it."""
    env = TextEnv(
        task="Alphabet",
        action_kind="choose",
        num_choices=3,
        proposer="list",
        proposer_kwargs={"phrases": ["a", "b"]},
        constraints={"choices": ["c"]},
        invalid_action=invalid_action,
    )
    env.reset(seed=0)
    assert env.action_masks().tolist() == [True, False, False]
    assert env.step(0)[2]


def test_a_forbidden_end_of_text_still_ends_choices_and_edits():
    choices = TextEnv(
        task="Alphabet",
        action_kind="choose",
        num_choices=2,
        proposer="list",
        proposer_kwargs={"phrases": ["a"]},
        constraints={"forbid": [EOS, "a"]},
    )
    choices.reset(seed=0)
    assert choices.action_masks().tolist() == [True, False]
    edits = TextEnv(task="Alphabet", action_kind="edit", constraints={"forbid": [EOS]})
    edits.reset(seed=0)
    assert edits.action_masks()[8 + EOS]
    assert edits.step((0, EOS))[2]


def test_an_edit_doubles_no_token_that_may_not_be_written():
    env = TextEnv(
        task="Alphabet", action_kind="edit", drafter=Drafts(), constraints={"forbid": ["a"]}
    )
    env.reset(seed=0)
    env.step((2, BOS))
    assert env.text()[1] == "ab"
    env.step((3, BOS))
    assert env.text()[1] == "abb"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"proposer": "list"}, "proposer is for action_kind='choose', but this is 'append'"),
        ({"num_choices": 3}, "num_choices is for action_kind='choose'"),
        ({"action_kind": "choose", "drafter": "empty"}, "drafter is for action_kind='edit'"),
        ({"action_kind": "edit", "num_choices": 3}, "but this is 'edit'"),
        ({"action_kind": "choose", "num_choices": None}, "num_choices must be at least 2"),
        ({"dense": "no"}, "dense must be True or False, got 'no'"),
    ],
)
def test_what_nothing_would_read_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TextEnv(task="Alphabet", **kwargs)


def test_each_row_gets_what_is_its_own():
    envs = TextVectorEnv(task="Alphabet", num_envs=2)
    envs.reset(seed=5)
    assert envs.get_attr("np_random_seed") == (5, 6)
    assert envs.get_attr("np_random") == envs.np_random
    assert envs.get_attr("action_space") == (envs.single_action_space,) * 2
    assert envs.call("render") == (None, None)
    assert envs.call("text") == tuple(zip(*envs.texts(), strict=True))
    assert np.array_equal(np.stack(envs.call("action_masks")), envs.action_masks())


def test_numbers_of_numpy_are_numbers():
    envs = TextVectorEnv(task="Alphabet", num_envs=np.int64(4), backend="torch")
    envs.reset(seed=0, options={"group": np.int64(2)})
    envs.fork(np.array([1, 1, 2, 2], dtype=np.uint16))
    mask = np.array([True, False, False, False])
    envs.reset(options={"reset_mask": mask, "prompt": ["a", None, None, None]})
    assert envs.texts()[0][0] == "a"
