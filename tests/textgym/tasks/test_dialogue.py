"""Chats with a scripted user: who says what, in which split, and for how long."""

import importlib.util
import json

import pytest

from textgym.data.chats import CHATTERBOT, load_chats
from textgym.data.prose import key_of
from textgym.rewards import resolve
from textgym.tasks import dialogue, get_task, required_packages
from textgym.tasks.dialogue import Dialogue
from textgym.testing import check_task
from textgym.tokenizers import load_tokenizer

needs_it = pytest.mark.skipif(
    not CHATTERBOT.is_installed(), reason="chatterbot-corpus is not installed"
)


@pytest.fixture(autouse=True)
def _no_cache():
    yield
    load_chats.cache_clear()
    dialogue._examples.cache_clear()


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Returns what writes the files of a package with made-up chats, by topic."""
    load_chats.cache_clear()
    dialogue._examples.cache_clear()
    folder = tmp_path / "chatterbot_corpus" / "data" / "english"
    folder.mkdir(parents=True)
    (tmp_path / "chatterbot_corpus" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def write(**topics):
        for topic, chats in topics.items():
            text = json.dumps({"conversations": chats})
            (folder / f"{topic}.yml").write_text(text, encoding="utf-8")

    return write


def all_examples(task):
    return [example for split in task.splits for example in task.examples(split)]


def said(example):
    """The user's messages, the first and the later ones."""
    first = example.prompt.removeprefix("User: ").removesuffix("\nBot:")
    return [first, *example.columns["later"]]


def play(task, example, answers):
    """Lets an agent that knows its answers talk to the task; returns its turns and all the text."""
    turns, text = [], example.prompt
    while True:
        turns.append(answers[len(turns)])
        text += turns[-1]
        reply = task.reply(example, turns)
        if reply is None:
            return turns, text
        text += reply


@needs_it
def test_the_task_keeps_the_contract():
    task = get_task("dialogue")
    assert task == Dialogue()
    assert required_packages("Dialogue") == (CHATTERBOT,)
    check_task(task)


@needs_it
def test_whoever_gives_the_scripted_answers_scores_one():
    task = Dialogue()
    score = resolve(task.reward)
    for example in all_examples(task):
        answers = example.columns["reference"].split("\n")
        turns, text = play(task, example, answers)
        assert turns == answers
        assert text == "\n".join(
            f"User: {message}\nBot:{answer}"
            for message, answer in zip(said(example), answers, strict=True)
        )
        columns = {key: [value] for key, value in example.columns.items()}
        assert score([example.prompt], ["\n".join(turns)], **columns) == [1.0]


@needs_it
def test_what_is_said_is_in_the_package():
    """Each answer is what a chat of the same topic has after the same message."""
    answered = {
        (chat.topic, *pair)
        for chat in load_chats()
        for pair in zip(chat.messages[::2], chat.messages[1::2], strict=False)
    }
    for example in all_examples(Dialogue()):
        answers = example.columns["reference"].split("\n")
        for message, answer in zip(said(example), answers, strict=True):
            assert answer.startswith(" ")
            assert (example.columns["topic"], message, answer[1:]) in answered


@needs_it
def test_no_message_of_the_user_is_in_two_splits():
    """Neither as a prompt nor later, whatever its case and punctuation."""
    homes = {}
    for split in Dialogue().splits:
        examples = Dialogue().examples(split)
        prompts = [key_of(example.prompt) for example in examples]
        assert len(set(prompts)) == len(prompts)
        for example in examples:
            for message in said(example):
                assert homes.setdefault(key_of(message), split) == split


@needs_it
def test_there_are_as_many_episodes_as_the_docstring_says():
    """Nearly all have two exchanges, and few are one chat that goes on."""
    examples = {split: Dialogue().examples(split) for split in Dialogue().splits}
    assert [len(episodes) for episodes in examples.values()] == [514, 66, 53]
    assert "514, 66 and 53 episodes; only 10 of them" in Dialogue.__doc__
    everything = [example for episodes in examples.values() for example in episodes]
    assert {len(said(example)) for example in everything} == {1, 2}
    assert sum(len(said(example)) == 2 for example in everything) > 0.95 * len(everything)
    chats = {chat.messages[0:3:2] for chat in load_chats() if len(chat.messages) > 3}
    assert sum(tuple(said(example)) in chats for example in everything) == 10


@needs_it
def test_all_conversations_fit():
    """Prompts, and the answers and replies with the end of text that each turn takes."""
    task = Dialogue()
    tokenizer = load_tokenizer(task.tokenizer)
    examples = all_examples(task)
    prompts = tokenizer.encode_batch([example.prompt for example in examples])
    assert max(map(len, prompts)) < task.prompt_tokens
    taken = []
    for example in examples:
        answers = example.columns["reference"].split("\n")
        replies = [task.reply(example, answers[:count]) for count in range(1, len(answers))]
        taken.append(sum(map(len, tokenizer.encode_batch(answers + replies))) + len(answers))
    assert max(taken) == 79 < task.completion_tokens
    assert sorted(taken)[len(taken) // 2] == 39
    assert "39 of ``completion_tokens`` in the" in Dialogue.__doc__
    assert "median and 79 at most" in Dialogue.__doc__


@needs_it
def test_a_reply_depends_on_how_many_turns_there_were():
    task = Dialogue()
    example = next(example for example in task.examples("train") if example.columns["later"])
    wanted = f"\nUser: {example.columns['later'][0]}\nBot:"
    for turns in (["Yes."], [""], ("A goat\nor two",)):
        assert task.reply(example, turns) == wanted
    assert task.reply(example, ["Yes.", ""]) is None
    assert task.reply(example, ["Yes.", "", "No."]) is None


def test_nothing_is_said_before_the_first_turn(write):
    write(goats=[["Goats?", "No."]])
    example = all_examples(Dialogue())[0]
    with pytest.raises(ValueError, match="Dialogue replies to a turn, and there is none yet"):
        Dialogue().reply(example, [])


def test_a_long_chat_goes_on_until_it_leaves_its_split(write):
    """What it lacks then comes from another chat of its topic and split."""
    write(goats=[[f"a{n}", f"b{n}", f"c{n}", f"d{n}"] for n in range(200)])
    homes, kinds = {}, set()
    for split in Dialogue().splits:
        for example in Dialogue().examples(split):
            first, later = said(example)
            number = first[1:]
            own = later == f"c{number}"
            kinds.add(own)
            answer = f"d{number}" if own else f"b{later[1:]}"
            assert example.columns["reference"] == f" b{number}\n {answer}"
            assert own or (later[0] == "a" and later != first)
            for message in (first, later):
                assert homes.setdefault(message, split) == split
    assert kinds == {True, False}


def test_short_chats_of_one_topic_follow_one_another(write):
    write(
        goats=[[f"goat {n}", f"yes {n}"] for n in range(30)],
        sheep=[[f"sheep {n}", f"no {n}"] for n in range(30)],
    )
    task = Dialogue()
    for split in task.splits:
        firsts, laters = [], []
        for example in task.examples(split):
            first, *later = said(example)
            firsts.append(first)
            laters.extend(later)
            assert {first.split()[0], *(message.split()[0] for message in later)} == {
                {"goats": "goat", "sheep": "sheep"}[example.columns["topic"]]
            }
        assert len(set(laters)) == len(laters)
        assert set(laters) <= set(firsts)
    assert len(all_examples(task)) == 60


def test_a_chat_that_is_alone_is_a_shorter_episode(write):
    write(goats=[["Goats?", "No.", "Why?"]])
    (example,) = all_examples(Dialogue())
    assert example.columns == {"reference": " No.", "topic": "goats", "later": ()}
    assert Dialogue().reply(example, ["No."]) is None


def test_of_chats_that_begin_alike_the_longest_is_kept(write):
    write(
        cows=[["Hello!", "Moo."], ["hello", "Moo!"]],
        goats=[["Hello", "Hi.", "hello!", "Hi again."]],
    )
    (example,) = all_examples(Dialogue())
    assert example.columns["topic"] == "goats"
    assert example.columns["reference"] == " Hi.\n Hi again."
    assert said(example) == ["Hello", "hello!"]


@pytest.mark.parametrize("exchanges", [1, 3])
def test_there_are_as_many_exchanges_as_are_asked_for(write, exchanges):
    write(goats=[[f"goat {n}", f"yes {n}"] for n in range(100)])
    task = Dialogue(exchanges=exchanges)
    for example in all_examples(task):
        answers = example.columns["reference"].split("\n")
        assert len(answers) == exchanges
        assert play(task, example, answers)[0] == answers


def test_no_exchange_is_refused():
    with pytest.raises(ValueError, match="at least 1 exchange; got 0"):
        Dialogue(exchanges=0)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    load_chats.cache_clear()
    dialogue._examples.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='pip install "chatterbot-corpus==') as raised:
        get_task("Dialogue").examples("train")
    assert "\n" not in str(raised.value)
