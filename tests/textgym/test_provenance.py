"""Names of results: all that decides them is in the hash, and what differs is said."""

import json
import shutil

import pytest
import torch

from textgym import provenance
from textgym.provenance import (
    checkpoint_home,
    code_version,
    content_hash,
    json_hash,
    named_contents,
    other_contents,
    shape_of,
    weights_hash,
)


def test_the_hash_of_a_folder_changes_with_a_byte_a_name_and_a_place(tmp_path):
    """Files of subfolders count, which an ensemble's members are in; hidden ones do not."""
    found = set()
    for path, text in {"a": "1", "b": "1", "c/a": "1", "c/b": "2"}.items():
        folder = tmp_path / f"run {len(found)}"
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
        found.add(content_hash(folder))
        (folder / ".lock").touch()
        assert content_hash(folder) in found
        elsewhere = shutil.copytree(folder, tmp_path / f"copy {len(found)}")
        assert content_hash(elsewhere) in found
    assert len(found) == 4


def test_what_settings_name_is_found_at_any_depth_and_hashed_by_its_contents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    (tmp_path / "my_rewards_42.py").write_text("def mine(): ...")
    settings = {"reward": {"clip": {"reward": "model"}}, "task": ["my_rewards_42:mine", 3, None]}
    first = named_contents(settings)
    assert sorted(first) == ["model", "my_rewards_42:mine"]
    for file in ("model/weights", "my_rewards_42.py"):
        before = named_contents(settings)
        (tmp_path / file).write_text("another")
        assert sum(before[name] != found for name, found in named_contents(settings).items()) == 1


@pytest.mark.parametrize(
    "text", ["", "/", "..", ".", "vader", "a" * 5000, "no:such", "a\0b", "1:2"]
)
def test_a_text_that_names_nothing_has_no_hash(text, tmp_path, monkeypatch):
    """ "/" as a delimiter would be the whole disk."""
    monkeypatch.chdir(tmp_path)
    assert named_contents({"any": [text]}) == {}


def test_weights_differ_by_value_name_shape_and_kind():
    def model(weight, name="weight"):
        module = torch.nn.Module()
        module.register_buffer(name, weight)
        return module

    ones = torch.ones(2, 2)
    models = [
        model(ones),
        model(ones * 2),
        model(ones, "bias"),
        model(ones.reshape(4)),
        model(ones.bfloat16()),
        model(torch.tensor(1.0)),
    ]
    assert len({weights_hash(one) for one in models}) == len(models)
    assert weights_hash(models[0]) == weights_hash(model(torch.ones(2, 2)))


def test_the_shape_of_a_model_is_what_it_says_but_for_where_it_was_loaded_from():
    config = {
        "layers": 2,
        "_name_or_path": "runs/a",
        "trunk": {"_name_or_path": "b", "act": "gelu"},
    }
    assert shape_of(config) == {"layers": 2, "trunk": {"act": "gelu"}}


def test_json_is_hashed_whatever_the_order_of_its_keys():
    assert json_hash({"a": 1, "b": 2}) == json_hash({"b": 2, "a": 1}) != json_hash({"a": 2, "b": 1})


def test_the_code_is_that_of_all_three_packages(tmp_path, monkeypatch):
    """A results file must not outlive an edit of the tokenizers, which are in another package."""
    assert {"textgym", "source", "python", "torch", "tokenizers"} <= set(code_version())
    for package in ("textgym", "reward_models", "agents"):
        (tmp_path / package / "room").mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "textgym" / "provenance.py"))
    found = [code_version()["source"]]
    for package in ("textgym", "reward_models", "agents"):
        for text in ("a = 1", "a = 2"):
            (tmp_path / package / "room" / "module.py").write_text(text)
            found.append(code_version()["source"])
    (tmp_path / "textgym" / "notes.md").write_text("no code")
    assert len(set(found)) == len(found)
    assert code_version()["source"] == found[-1]


def test_checkpoints_of_another_run_are_passed_over_and_it_is_said_why(tmp_path):
    decides = {"settings": "1", "data": "2", "code": "3"}
    home, said = checkpoint_home(tmp_path, decides)
    assert (said, home.parent) == ("", tmp_path)
    assert json.loads((home / "made_from.json").read_text()) == decides
    assert checkpoint_home(tmp_path, decides) == (home, "")
    other, said = checkpoint_home(tmp_path, decides | {"data": "4"})
    assert other != home
    assert said == f"{home} has checkpoints of a run with other data: this one begins anew"


def test_what_stands_in_json_and_before_a_question_mark_is_looked_at(tmp_path, monkeypatch):
    """As a command's ``--env-kwargs``, and a file's columns behind its path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text("question")
    (tmp_path / "train").mkdir()
    task = "data.csv?prompt=question"
    given = {"env_kwargs": json.dumps({"task": task, "split": "train"}), "rewards": '["data.csv"'}
    assert named_contents(given) == {task: content_hash(tmp_path / "data.csv")}
    before = named_contents(given)
    (tmp_path / "data.csv").write_text("another")
    assert other_contents(before, named_contents(given)) == task
    assert other_contents(before, before) == other_contents({}, before) == ""
    assert other_contents({"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "2", "d": "1"}) == (
        "a and b"
    )
