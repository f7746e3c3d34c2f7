"""A user's own task out of a file."""

import json

import pytest

import textgym
from textgym.rewards import RewardError
from textgym.tasks import FileTask, get_task, task_from_path
from textgym.tasks.files import unjudged
from textgym.testing import check_task

ROWS = [
    {"prompt": f"goat {number}", "reference": f" is {number}", "n": number} for number in range(80)
]


def write(tmp_path, rows, name="data.jsonl"):
    path = tmp_path / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def all_examples(task):
    return [example for split in task.splits for example in task.examples(split)]


def test_a_file_of_json_lines_is_a_task_by_its_path(tmp_path):
    path = write(tmp_path, ROWS)
    task = get_task(path)
    assert task == FileTask(path)
    check_task(task)
    assert task.name == "data.jsonl"
    assert task.splits == ("train", "validation", "test")
    assert sorted(example.columns["n"] for example in all_examples(task)) == list(range(80))
    for example in all_examples(task):
        assert example.prompt == f"goat {example.columns['n']}"
        assert example.columns.keys() == {"reference", "n"}


def test_an_environment_takes_the_path_and_scores_by_the_reference(tmp_path):
    env = textgym.TextEnv(task=write(tmp_path, ROWS))
    env.reset(options={"example_id": 0})
    wanted = env.task.examples("train")[0].columns["reference"]
    ids = [*env.tokenizer.encode(wanted), env.tokenizer.eos_id]
    assert [env.step(token)[1] for token in ids][-1] == 1.0


def test_a_csv_file_is_a_task_too(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        "question,answer,split\nHow many?,3,train\nWhich one?,this,dev\n", encoding="utf-8"
    )
    task = FileTask(str(path), prompt="question", reference="answer")
    check_task(task)
    assert task.splits == ("train", "dev")
    (example,) = task.examples("dev")
    assert example.prompt == "Which one?"
    assert example.columns == {"answer": "this", "reference": "this"}


def test_a_prompt_is_in_one_split_whatever_its_case_and_the_other_rows(tmp_path):
    more = [{"prompt": f"GOAT, {number}!", "reference": "x"} for number in range(80)]
    alone, both = FileTask(write(tmp_path, ROWS)), FileTask(write(tmp_path, ROWS + more, "b.jsonl"))
    homes = {example.prompt: split for split in both.splits for example in both.examples(split)}
    for split in alone.splits:
        for example in alone.examples(split):
            number = example.columns["n"]
            assert homes[f"goat {number}"] == split
            assert homes[f"GOAT, {number}!"] == split


def test_rows_without_prompts_are_spread_by_their_references(tmp_path):
    rows = [{"prompt": "", "reference": f"goat {number}"} for number in range(80)]
    check_task(FileTask(write(tmp_path, rows)))


def test_a_row_without_a_reference_has_an_empty_one(tmp_path):
    path = write(tmp_path, [*ROWS, {"prompt": "no goat", "reference": None}, {"prompt": "none"}])
    columns = {example.prompt: example.columns for example in all_examples(FileTask(path))}
    assert columns["no goat"] == columns["none"] == {"reference": "", "n": None}


def test_a_file_of_prompts_alone_wants_a_reward(tmp_path):
    """A score against nothing would teach to write nothing."""
    path = write(tmp_path, [{"prompt": f"goat {number}"} for number in range(80)])
    task = get_task(path)
    check_task(task)
    assert all(example.columns == {"reference": ""} for example in all_examples(task))
    env = textgym.TextEnv(task=path)
    env.reset(seed=0)
    with pytest.raises(RewardError, match=r"no column 'reference'.*give the environment a reward"):
        env.step(env.tokenizer.eos_id)
    env = textgym.TextEnv(task=path, reward="textgym.tasks.toys:bandit_score")
    env.reset(seed=0)
    assert env.step(env.tokenizer.eos_id)[1] == 0.0


def test_settings_are_passed_on(tmp_path):
    path = write(tmp_path, [{"prompt": "a", "answer": "b"}])
    task = task_from_path(path, reference="answer", completion_tokens=7)
    assert task == FileTask(path, reference="answer", completion_tokens=7)
    own = task_from_path(path, reward="textgym.tasks.toys:bandit_score")
    assert own == FileTask(path, reference=None, reward="textgym.tasks.toys:bandit_score")
    assert task_from_path(path).reward == f"{unjudged.__module__}:unjudged"


def test_columns_of_other_names_stand_behind_the_path(tmp_path):
    """So that JSON and the command line can say them; an empty reference is none."""
    path = write(tmp_path, [{"q. 1": f"Q{n}", "a": f"A{n}"} for n in range(40)], "d.ndjson")
    task = get_task(f"{path}?prompt=q.+1&reference=a")
    assert task == FileTask(path, prompt="q. 1", reference="a")
    check_task(task)
    assert all_examples(task)[0].columns["reference"][0] == "A"
    assert get_task(f"{path}?prompt=q.+1").reference is None
    assert get_task(f"{path}?prompt=q.+1&reference=").reference is None
    for behind in ("?", "?x=a", "?prompt=", "?prompt=a&prompt=a"):
        with pytest.raises(ValueError, match="behind"):
            get_task(path + behind)


def test_a_file_that_changed_is_read_again(tmp_path):
    task = FileTask(write(tmp_path, ROWS))
    before = len(all_examples(task))
    write(tmp_path, [*ROWS, {"prompt": "one more", "reference": "x"}])
    assert [before, len(all_examples(task))] == [80, 81]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": 1}], r"no column 'prompt'; it has: text, label; name the columns"),
        ([{"prompt": "a", "label": 1}], r"no column 'reference'; it has: prompt, label"),
        ([], r"data\.jsonl has no rows"),
        (
            [{"prompt": 3, "reference": "b"}],
            r":1: the column 'prompt' must hold a string, got int 3",
        ),
        ([*ROWS, {"reference": "b"}], r":81: the column 'prompt' must .* got NoneType None"),
        ([{"prompt": "a", "reference": ["b"]}], r":1: the column 'reference' must .* got list"),
        ([{"prompt": "a\ud800", "reference": "b"}], r":1: .* half a surrogate pair at character 1"),
        (
            [{"prompt": "a", "reference": "b", "split": 1}],
            r":1: the column 'split' must hold a str",
        ),
        ([{"prompt": "a", "reference": "b", "split": ""}], r":1: the column 'split' is empty"),
        (
            [{"prompt": "a", "reference": "b", "split": split} for split in ("train", "test")],
            r"data\.jsonl:2, in split 'test', repeats .*data\.jsonl:1, in split 'train'",
        ),
        (
            [{"prompt": "a", "reference": "b", "prompts": 1}],
            r"a column 'prompts', which .* rename it",
        ),
        (
            [{"prompt": "a", "reference": "b"}],
            r"split '\w+' of .* is empty \(train \d.*\); add rows",
        ),
    ],
)
def test_what_is_no_task_says_where_and_why(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        all_examples(FileTask(write(tmp_path, rows)))
    assert "\n" not in str(caught.value)


def test_an_unknown_split_lists_those_of_the_file(tmp_path):
    task = FileTask(write(tmp_path, [{"prompt": "a", "reference": "b", "split": "dev"}]))
    with pytest.raises(ValueError, match=r"unknown split 'train' of data\.jsonl; known: dev"):
        task.examples("train")


def test_a_missing_file_is_named(tmp_path):
    for name in ("gone.jsonl", "gone.csv"):
        with pytest.raises(FileNotFoundError, match=f"{name} does not exist"):
            get_task(str(tmp_path / name))


def test_a_dataset_has_its_own_name():
    assert FileTask("datasets:owner/goats").name == "owner/goats"
