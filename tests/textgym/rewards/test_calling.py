"""TRL's reward functions are called as TRL calls them; so are plain ones, and coroutines."""

import asyncio
import pickle

import gymnasium as gym
import numpy as np
import pytest

from textgym import TextEnv
from textgym.rewards import RewardError, resolve
from textgym.rewards.calling import AdaptedReward, adapt
from textgym.testing import check_reward_function

PROMPTS, TEXTS = ["p", "q", "r"], ["one", "two", "three"]


def score(reward, **columns):
    return resolve(reward)(PROMPTS, TEXTS, **columns)


def completions_first(completions, **kwargs):
    return [float(len(text)) for text in completions]


def texts_by_keyword(*, completions, prompts, **kwargs):
    return [float(len(p + c)) for p, c in zip(prompts, completions, strict=True)]


def with_a_solution(completions, solution, log_extra=None, **kwargs):
    """The shape of TRL's ``accuracy_reward``."""
    if log_extra is not None:
        log_extra("gold", list(solution))
    return [float(c == s) for c, s in zip(completions, solution, strict=True)]


def with_a_trainer(prompts, completions, trainer_state, log_metric, environments=0, **kwargs):
    """What a trainer gives, without a default: there is none here."""
    log_metric("mean", 0.5)
    assert trainer_state is None
    assert environments is None
    return [1.0 for _ in completions]


def without_kwargs(completions, label):
    return [float(value) for value in label]


def two_places(p, c):
    return [float(len(text)) for text in c]


def keywords_alone(**kwargs):
    return [float(len(text)) for text in kwargs["completions"]]


def ids_only(completion_ids, **kwargs):
    """The shape of TRL's repetition and length penalties."""
    return [float(len(ids)) for ids in completion_ids]


async def patient(prompts, completions, **kwargs):
    await asyncio.sleep(0)
    return [float(len(text)) for text in completions]


class PatientJudge:
    async def __call__(self, completions, label, **kwargs):
        await asyncio.sleep(0)
        return [float(value) for value in label]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (completions_first, [3, 3, 5]),
        (texts_by_keyword, [4, 4, 6]),
        (with_a_solution, [1, 0, 1]),
        (with_a_trainer, [1, 1, 1]),
        (without_kwargs, [7, 8, 9]),
        (two_places, [3, 3, 5]),
        (keywords_alone, [3, 3, 5]),
        (lambda p, c, **k: [len(text) for text in c], [3, 3, 5]),
        (patient, [3, 3, 5]),
        (PatientJudge(), [7, 8, 9]),
    ],
)
def test_a_function_gets_what_it_names(reward, expected):
    columns = {"label": [7, 8, 9], "solution": ["one", "three", "three"]}
    assert expected == score(reward, **columns)


def test_a_function_that_needs_nothing_special_is_left_alone():
    def plain(prompts, completions, **columns):
        return [0.0] * len(completions)

    assert plain is adapt(plain)
    assert isinstance(adapt(completions_first), AdaptedReward)
    assert max is adapt(max)  # built in; it does not say what it takes


def test_a_coroutine_runs_where_a_loop_runs_already():
    """A notebook has one."""

    async def cell():
        return score(patient)

    assert asyncio.run(cell()) == [3.0, 3.0, 5.0]


def test_a_failing_coroutine_is_a_reward_error_with_the_text():
    async def fragile(prompts, completions, **kwargs):
        if "two" in completions:
            raise KeyError("no such word")
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match=r"'fragile' raised KeyError.*row 1 of 3.*'two'"):
        score(fragile)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_ids_that_the_agent_wrote_are_given_on_request(backend):
    """The end of text is one of them, as in TRL; ``a`` is token 3 of the toy."""
    seen = []

    def remember(completion_ids, **kwargs):
        seen.extend(completion_ids)
        return [float(len(ids)) for ids in completion_ids]

    envs = gym.make_vec(
        "textgym:TextGym/Alphabet-v0", num_envs=2, reward=[[remember, 1.0]], backend=backend
    )
    envs.reset(seed=0)
    array = np.array if backend == "numpy" else pytest.importorskip("torch").tensor
    for action in ([3, 4], [2, 5], [2, 2]):
        envs.step(array(action))
    assert seen == [[3, 2], [4, 5, 2]]
    env = gym.make("textgym:TextGym/Alphabet-v0", reward=ids_only)
    env.reset(seed=0)
    env.step(3)
    _, reward, *_ = env.step(env.unwrapped.tokenizer.eos_id)
    assert reward == 2.0


def test_texts_alone_have_no_ids():
    with pytest.raises(RewardError, match="reads completion_ids, which only an environment"):
        score(ids_only)


def test_messages_are_given_on_request():
    """The shape of TRL's ``think_format_reward``; a prompt is the user's message."""

    def thinks(completions, **kwargs):
        return [float(message[0]["content"].startswith("t")) for message in completions]

    def whole(prompts, completions, **kwargs):
        return [
            float(
                (p, c)
                == ([{"role": "user", "content": "q"}], [{"role": "assistant", "content": "two"}])
            )
            for p, c in zip(prompts, completions, strict=True)
        ]

    assert score({"chat": {"reward": thinks}}) == [0.0, 1.0, 1.0]
    assert score({"chat": {"reward": whole}}) == [0.0, 1.0, 0.0]
    with pytest.raises(RewardError, match="'thinks' raised TypeError: string indices"):
        score(thinks)


def test_none_stands_for_no_judgement_on_request():
    def unsure(prompts, completions, **kwargs):
        return [None if "t" in text else 2.0 for text in completions]

    assert score({"none_as": {"reward": unsure, "value": -1}}) == [2.0, -1.0, -1.0]
    with pytest.raises(RewardError, match="'unsure' returned None"):
        score(unsure)
    chat = {"none_as": {"reward": {"chat": {"reward": unsure}}, "value": 0.5}}
    assert score(chat) == [2.0, 2.0, 2.0]


def test_chat_and_none_as_are_for_one_function():
    with pytest.raises(ValueError, match="'chat' is for one function, and 'two_places' is made of"):
        resolve({"chat": {"reward": [[two_places, 1.0]]}})
    with pytest.raises(ValueError, match="in 'none_as': value must be a finite number, got nan"):
        resolve({"none_as": {"reward": two_places, "value": float("nan")}})
    with pytest.raises(ValueError, match="'none_as' needs 'value'; it takes reward, value"):
        resolve({"none_as": {"reward": two_places}})


@pytest.mark.parametrize("reward", [completions_first, texts_by_keyword, two_places, patient])
def test_behind_resolve_the_contract_can_be_checked(reward):
    check_reward_function(resolve(reward))


def test_what_is_adapted_pickles():
    spec = {
        "none_as": {"reward": {"chat": {"reward": "textgym.tasks.toys:bandit_score"}}, "value": 0}
    }
    assert pickle.loads(pickle.dumps(resolve(spec))) == resolve(spec)  # noqa: S301
    adapted = resolve(completions_first)
    assert pickle.loads(pickle.dumps(adapted))([""], ["ab"]) == [2.0]  # noqa: S301


def texts_alone(texts):
    return [0.0] * len(texts)


def three_places(prompts, completions, third, /):
    return [0.0] * len(prompts)


def one_place_by_name(completions, /):
    return [0.0] * len(completions)


def nothing():
    return []


@pytest.mark.parametrize("reward", [texts_alone, three_places, one_place_by_name])
def test_what_cannot_be_called_is_refused_when_the_environment_is_made(reward):
    """It was found out at the end of the first episode."""
    with pytest.raises(ValueError, match=f"reward '{reward.__name__}' cannot be called with prom"):
        TextEnv(task="Alphabet", reward=reward)


def test_what_takes_nothing_is_no_reward():
    with pytest.raises(ValueError, match="reward 'nothing' takes nothing; it would be given"):
        resolve(nothing)


def behind_stars(*texts, number):
    return [float(value) for value in number]


def by_place(prompts, completions, number):
    return [float(value) for value in number]


def by_place_and_all(prompts, completions, number, **columns):
    return [float(value) for value in number]


@pytest.mark.parametrize("reward", [behind_stars, by_place, by_place_and_all])
def test_a_column_that_stands_behind_the_texts_is_read_and_asked_for(reward):
    scores = resolve(reward)(["", ""], ["a", "b"], number=[3, 4], other=[0, 0])
    assert scores == [3.0, 4.0]
    with pytest.raises(ValueError, match="reads the column 'number', but split 'train' of Alp"):
        TextEnv(task="Alphabet", reward=reward)
