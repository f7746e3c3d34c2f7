"""Chats out of files of YAML."""

import importlib.util
import json
import sys

import pytest

from textgym.data.chats import CHATTERBOT, Chat, load_chats


@pytest.fixture(autouse=True)
def _no_cache():
    load_chats.cache_clear()
    yield
    load_chats.cache_clear()


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Returns what writes a topic's file into a package that cannot be imported."""
    folder = tmp_path / "chatterbot_corpus" / "data" / "english"
    folder.mkdir(parents=True)
    (tmp_path / "chatterbot_corpus" / "__init__.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    def write(topic, *chats):
        # JSON is YAML.
        text = json.dumps({"categories": [topic], "conversations": chats})
        (folder / f"{topic}.yml").write_text(text, encoding="utf-8")

    return write


def test_chats_are_read_by_topic_and_in_their_order(write):
    write("sheep", ["Where are the sheep?", "Behind  the\nhill."])
    write("goats", ["Goats!", "Where?", "There."], ["Une chèvre", "a goat"])
    assert load_chats() == (
        Chat(topic="goats", messages=("Goats!", "Where?", "There.")),
        Chat(topic="goats", messages=("Une chèvre", "a goat")),
        Chat(topic="sheep", messages=("Where are the sheep?", "Behind the hill.")),
    )
    assert "chatterbot_corpus" not in sys.modules


def test_the_package_s_way_of_writing_is_read(write, tmp_path):
    """A list in a list, text without quotes, and folded lines."""
    write("goats")
    (tmp_path / "chatterbot_corpus" / "data" / "english" / "goats.yml").write_text(
        "categories:\n- goats\nconversations:\n- - Where do goats\n    sleep?\n  - '22'\n"
    )
    assert load_chats() == (Chat(topic="goats", messages=("Where do goats sleep?", "22")),)


def test_a_chat_is_there_once(write):
    write("goats", ["Goats?", "No."], ["Goats?", "Yes."], ["Goats?", "No."])
    write("sheep", ["Goats?", "No."])
    assert [(chat.topic, chat.messages[1]) for chat in load_chats()] == [
        ("goats", "No."),
        ("goats", "Yes."),
        ("sheep", "No."),
    ]


@pytest.mark.parametrize("topic", ["computers", "emotion"])
def test_where_all_is_answers_to_one_message_the_first_is_kept(write, topic):
    write(topic, ["What is a goat?", "An animal.", "A beast.", "A goat."])
    assert load_chats() == (Chat(topic=topic, messages=("What is a goat?", "An animal.")),)


@pytest.mark.parametrize(
    "message",
    [
        "goat " * 21,
        "",
        "  ",
        "Here is one:\n```\ngoat\n```",
        "Call goat() twice",
        "Call {goat} twice",
        "if goats > 3",
        "goats = 3",
        "the_goat said",
        "See https://goats.example",
        3,
        None,
        ["a goat"],
    ],
)
def test_a_chat_ends_before_what_is_no_message(write, message):
    write("goats", ["One?", "Two.", message, "Four."], ["Five?", message], [message, "Six."])
    assert load_chats() == (Chat(topic="goats", messages=("One?", "Two.")),)


def test_twenty_words_are_a_message(write):
    longest = " ".join(["goat"] * 20)
    write("goats", [longest, longest])
    assert load_chats() == (Chat(topic="goats", messages=(longest, longest)),)


def test_what_is_no_list_is_left_out(write):
    write("goats", "Goats? - '22'", ["Goats?", "No."], {"Goats?": "Yes."})
    assert load_chats() == (Chat(topic="goats", messages=("Goats?", "No.")),)


@pytest.mark.skipif(not CHATTERBOT.is_installed(), reason="chatterbot-corpus is not installed")
def test_the_package_has_its_chats():
    chats = load_chats()
    assert len(chats) == len(set(chats)) > 600
    for chat in chats:
        assert len(chat.messages) > 1
        for message in chat.messages:
            assert message == " ".join(message.split())
            assert 1 <= len(message.split()) <= 20
            assert not set("{}<>`=") & set(message)
    topics = {chat.topic for chat in chats}
    assert {"trivia", "greetings", "emotion"} <= topics
    assert "coding" not in topics
    assert CHATTERBOT.module not in sys.modules


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match='run: pip install "chatterbot-corpus=='
    ) as raised:
        load_chats()
    assert "\n" not in str(raised.value)


def test_a_missing_reader_says_how_to_get_it(write, monkeypatch):
    write("goats", ["Goats?", "No."])
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ModuleNotFoundError, match=r'package yaml.*run: pip install "PyYAML>=6"'):
        load_chats()


def test_a_package_without_chats_says_so(write):
    with pytest.raises(FileNotFoundError, match=r"no \.yml files.*pip install \"chatterbot-corpus"):
        load_chats()
