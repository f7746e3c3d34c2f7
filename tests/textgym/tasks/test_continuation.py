"""Passages of any text file, to be continued."""

import json
import os

import gymnasium as gym
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.tasks import get_task
from textgym.tasks.continuation import Continuation
from textgym.testing import check_task
from textgym.tokenizers import load_tokenizer


def words(count, name="goat"):
    return " ".join(f"{name}{number}" for number in range(count))


def write(tmp_path, data, name="goats.txt"):
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def all_examples(task):
    return [example for split in task.splits for example in task.examples(split)]


def test_a_passage_is_its_prompt_and_its_reference(tmp_path):
    text = "\n\n".join(f"{words(36, f'w{number}x')}" for number in range(60))
    task = Continuation(path=write(tmp_path, text))
    check_task(task)
    examples = all_examples(task)
    assert len(examples) == 60
    for example in examples:
        assert len(example.prompt.split()) == 12
        assert len(example.columns["reference"].split()) == 24
        assert example.prompt + example.columns["reference"] in text


def test_a_long_paragraph_is_many_passages_that_do_not_overlap(tmp_path):
    """Of 36 words each, and the 20 that remain; 16 more would be too few for a reference."""
    task = Continuation(path=write(tmp_path, words(36 * 50 + 20)))
    texts = [example.prompt + example.columns["reference"] for example in all_examples(task)]
    assert sorted(len(text.split()) for text in texts) == [20] + [36] * 50
    written = [word for text in texts for word in text.split()]
    assert sorted(written) == sorted(words(36 * 50 + 20).split())
    short = Continuation(path=write(tmp_path, words(36 * 50 + 16), "short.txt"))
    assert len(all_examples(short)) == 50


def test_lines_may_stand_alone(tmp_path):
    path = write(tmp_path, "\n".join(words(20, f"w{number}x") for number in range(60)))
    lines = Continuation(path=path, unit="line")
    assert len(all_examples(lines)) == 60
    assert all(len(example.columns["reference"].split()) == 8 for example in all_examples(lines))


def test_passages_with_one_prompt_are_one_example(tmp_path):
    twice = "\n\n".join([words(36)] * 9 + [words(36, f"w{number}x") for number in range(60)][:60])
    assert len(all_examples(Continuation(path=write(tmp_path, twice)))) == 61


def write_part(folder, split, texts):
    folder.mkdir(exist_ok=True)
    rows = "".join(json.dumps({"text": text, "source": "s"}) + "\n" for text in texts)
    (folder / f"{split}.jsonl").write_text(rows, encoding="utf-8")


def test_the_parts_of_a_corpus_are_the_splits(tmp_path):
    folder = tmp_path / "parts"
    for split in ("train", "validation", "test"):
        write_part(folder, split, [words(36, f"{split}{number}x") for number in range(9)])
    task = get_task(str(folder))
    check_task(task)
    for split in task.splits:
        assert len(task.examples(split)) == 9
        assert all(example.prompt.startswith(split) for example in task.examples(split))
    # What opens as a text of an earlier part does is left out, and what is written anew is read.
    write_part(folder, "test", [words(36, "train3x"), words(36, "new")])
    assert [example.prompt for example in task.examples("test")] == [words(12, "new")]


def test_the_columns_of_a_corpus_reach_a_reward(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    rows = [
        {"text": words(36, name), "source": "s", "keywords": [f"{name}20"]} for name in ("a", "b")
    ]
    for split in ("train", "validation", "test"):
        lines = rows if split == "train" else []
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    tokenizer = load_tokenizer("characters:abcdefghijklmnopqrstuvwxyz0123456789 ")
    env = gym.make(
        "textgym:TextGym/Continuation-v0",
        task=str(folder),
        tokenizer=tokenizer,
        reward="keywords",
        prompt_tokens=60,
        completion_tokens=9,
    )
    for is_keyword in (True, False):
        env.reset(seed=0)
        name = env.unwrapped.text()[0][0] if is_keyword else "c"
        for token in [*tokenizer.encode(f" {name}20"), tokenizer.eos_id]:
            _, reward, *_ = env.step(token)
        assert reward == float(is_keyword)


def test_what_is_wrong_with_a_part_is_told(tmp_path):
    folder = tmp_path / "parts"
    write_part(folder, "train", [words(36)])
    with pytest.raises(ValueError, match=r"is a folder, and has no validation\.jsonl, test\.jsonl"):
        get_task(str(folder)).examples("train")
    write_part(folder, "validation", [])
    write_part(folder, "test", [])
    assert len(get_task(str(folder)).examples("train")) == 1
    with pytest.raises(ValueError, match=r"'test' of .*parts is empty \(train 1, validation 0"):
        get_task(str(folder)).examples("test")
    (folder / "test.jsonl").write_text('{"body": "a"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"test\.jsonl:1 has no text in the column 'text'"):
        get_task(str(folder)).examples("test")


def test_a_megabyte_in_one_line_is_read(tmp_path):
    task = Continuation(path=write(tmp_path, words(100_000)))
    assert len(all_examples(task)) == 2778


def test_control_characters_and_marks_are_nothing(tmp_path):
    text = "\ufeff" + words(36 * 60).replace(" ", "\0 ")
    for example in all_examples(Continuation(path=write(tmp_path, text))):
        assert not set("\0\ufeff") & set(example.prompt + example.columns["reference"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", r"goats\.txt has no paragraph of at least 17 words"),
        (words(16), r"goats\.txt has no paragraph of at least 17 words"),
        ("\0" * 10_000, r"goats\.txt has no paragraph of at least 17 words"),
        ("x" * 1_000_000, r"goats\.txt has no paragraph of at least 17 words"),
        (words(17), r"split '\w+' of .*goats\.txt is empty \(.*\); use a longer text"),
        (b"goats \xff", r"goats\.txt is not UTF-8: byte 0xff at offset 6"),
        (b"half \xed\xa0\x80", r"goats\.txt is not UTF-8: byte 0xed at offset 5"),
    ],
)
def test_what_gives_no_passage_says_why(data, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        all_examples(Continuation(path=write(tmp_path, data)))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.txt does not exist"):
        Continuation(path=str(tmp_path / "gone.txt")).examples("train")
    with pytest.raises(ValueError, match="is a folder"):
        Continuation(path=str(tmp_path)).examples("train")


def test_a_file_that_changed_is_read_again(tmp_path):
    path = write(tmp_path, words(36 * 50))
    before = len(all_examples(Continuation(path=path)))
    write(tmp_path, words(36 * 60))
    os.utime(path, ns=(1, 1))
    assert [before, len(all_examples(Continuation(path=path)))] == [50, 60]


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_examples_or_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "any.txt"
    path.write_bytes(data)
    task = Continuation(path=str(path), prompt_words=1, reference_words=5)
    complaint = f"{path} is fine"
    try:
        examples = task.examples("train")
    except ValueError as error:
        examples, complaint = [], str(error)
    assert all(len(example.prompt.split()) == 1 for example in examples)
    assert str(path) in complaint
    assert "\n" not in complaint


def test_the_manual_is_always_there():
    task = get_task("Continuation")
    assert len(all_examples(task)) > 500
    tokenizer = load_tokenizer(task.tokenizer)
    prompts = tokenizer.encode_batch([example.prompt for example in all_examples(task)])
    assert sum(len(ids) < task.prompt_tokens for ids in prompts) > 0.95 * len(prompts)


def test_no_two_splits_share_a_sentence_s_beginning():
    task = Continuation()
    prompts = [example.prompt.casefold() for example in all_examples(task)]
    assert len(prompts) == len(set(prompts))


@pytest.mark.parametrize("name", ["goats.txt", "goats.MD"])
def test_a_text_file_is_a_task_by_its_path(name, tmp_path):
    path = write(tmp_path, words(36 * 60), name)
    assert get_task(path) == Continuation(path=path)
    assert get_task(path).name == f"Continuation of {name}"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unit": "page"}, "unknown unit 'page' of passages; known: paragraph, line"),
        ({"prompt_words": 0}, "got prompt_words=0"),
        ({"reference_words": 4}, "reference_words=4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Continuation(**wrong)
