"""Labels out of answers, the split for the temperature, and where the answers come from."""

import json

import pytest

from reward_models.card.data import card_data, coded_answers, coded_scores, read_card_data
from reward_models.measuring.pairs import drawn_with
from reward_models.preferences import (
    Answer,
    Pair,
    Preference,
    PreferenceStore,
    divide,
    write_preferences,
)
from reward_models.preferences.traces import traces_of
from textgym.statistics.linked import grouped


def answer(chosen, rejected, annotator="x", prompt="p", probability=1.0):
    return Preference(
        pair_id="any",
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        annotator=annotator,
        probability=probability,
    )


def test_a_label_is_what_most_preferred_whichever_way_the_rows_are_written():
    answers = [answer("a", "b", "x"), answer("b", "a", "y"), answer("a", "b", "z")]
    data = card_data(answers, [], source="here")
    assert [(label.chosen, label.rejected) for label in data.test] == [("a", "b")]
    assert data.groups == {"people": ["they differ"]}
    assert len(data.answers) == 3


def test_a_tied_pair_is_no_label_and_is_counted():
    answers = [
        answer("a", "b", "x"),
        answer("b", "a", "y"),
        answer("c", "d", probability=0.5),
        answer("e", "f"),
    ]
    data = card_data(answers, [], source="here")
    assert [label.chosen for label in data.test] == ["e"]
    assert data.left_out == {"pairs that are tied or evenly split": 2}
    with pytest.raises(ValueError, match="here holds no decided pair"):
        card_data(answers[:3], [], source="here")


def test_no_prompt_is_both_fitted_and_measured_on():
    """A temperature that has seen the test prompts flatters."""
    validation = [answer("a", "b", prompt="p"), answer("a", "b", prompt="q")]
    data = card_data([answer("c", "d", prompt="p")], validation, source="here")
    assert [label.prompt for label in data.validation] == ["q"]
    assert data.left_out == {"validation pairs whose prompt or text is measured on": 1}


def test_answers_and_scores_are_coded_alike():
    """By the text, not by which was chosen: 'a' is the first of a and b."""
    answers = [answer("b", "a", "x"), answer("a", "b", "y"), answer("a", "b", "z", probability=0.5)]
    data = card_data([*answers, answer("b", "a", "w")], [], source="here")
    assert [code for _, _, code in coded_answers(data.answers)] == [
        "second",
        "first",
        "tie",
        "second",
    ]
    (label,) = data.test
    assert label.chosen == "b"
    assert coded_scores(data.test, [1.0]) == {label.pair_id: {"second": 1.0, "first": 0.0}}
    assert coded_scores(data.test, [0.5])[label.pair_id] == {"second": 0.5, "first": 0.5}


@pytest.fixture
def store(tmp_path):
    pairs = [
        Pair(
            pair_id=f"{split}{number}",
            prompt=f"{split} prompt {number}",
            a="x",
            b="y",
            policy_a="new" if number else "",
            policy_b="old" if number else "",
            split=split,
        )
        for split in ("test", "tune")
        for number in range(3)
    ]
    with PreferenceStore(tmp_path / "answers.sqlite") as opened:
        opened.add_pairs(pairs)
        opened.record_answers(
            [
                Answer(pair_id=pair.pair_id, annotator=who, answer="a")
                for pair in pairs[1:]
                for who in ("u", "v")
            ]
            + [
                Answer(pair_id="test0", annotator="u", answer="tie"),
                Answer(pair_id="test0", annotator="v", answer="skip"),
            ]
        )
    return str(tmp_path / "answers.sqlite")


def test_a_store_is_read_by_its_splits(store):
    data = read_card_data(store, split="test", validation="tune")
    assert [label.prompt for label in data.test] == ["test prompt 1", "test prompt 2"]
    assert len(data.validation) == 3
    assert data.left_out == {"answers: skip": 1, "pairs that are tied or evenly split": 1}
    assert data.groups == {"subset": ["new and old"] * 2, "people": ["all agree"] * 2}


def test_without_a_validation_split_some_prompts_are_taken_for_it(store):
    data = read_card_data(store, share=0.5, seed=1)
    prompts = [{label.prompt for label in part} for part in (data.test, data.validation)]
    assert prompts[0].isdisjoint(prompts[1])
    assert len(prompts[0] | prompts[1]) == 5
    assert all(prompts)


def test_what_models_are_trained_on_is_not_measured_on_unless_asked_for(store):
    with PreferenceStore(store) as opened:
        opened.add_pairs([Pair(pair_id="t", prompt="train prompt", a="x", b="y")])
        opened.record_answers([Answer(pair_id="t", annotator="u", answer="a")])
    data = read_card_data(store, share=0)
    assert "train prompt" not in {label.prompt for label in data.test}
    assert data.left_out["answers of the split train"] == 1
    asked = read_card_data(store, split="train")
    assert [label.prompt for label in asked.test] == ["train prompt"]


def test_a_split_that_is_not_there_is_named_with_those_that_are(store):
    with pytest.raises(
        ValueError, match="dev has no answers to measure on; its splits: test, tune"
    ):
        read_card_data(store, split="dev")


def test_a_file_is_read_with_its_subsets_and_its_split(tmp_path):
    rows = [
        {"prompt": f"p{n}", "chosen": "a", "rejected": "b", "subset": "s", "split": split}
        for n, split in enumerate(["train", "test", "test"])
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = read_card_data(str(path), share=0)
    assert [label.prompt for label in data.test] == ["p1", "p2"]
    assert data.groups == {"subset": ["s", "s"]}
    assert data.left_out == {"rows of the split train": 1}
    assert data.answers == []
    with pytest.raises(ValueError, match="is a file"):
        read_card_data(str(path), split="test")


@pytest.mark.parametrize("prompts", ["p", "pq"])
def test_prompts_that_would_all_go_to_the_temperature_are_measured_on(tmp_path, prompts):
    """A card without a temperature is worth more than a temperature without a card."""
    rows = [{"prompt": prompt, "chosen": "a", "rejected": "b"} for prompt in prompts]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = read_card_data(str(path), share=0.999)
    assert (len(data.test), len(data.validation)) == (len(prompts), 0)


def test_a_missing_file_is_no_new_store(tmp_path):
    """Opening a store makes one."""
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere.sqlite"):
        read_card_data(str(tmp_path / "nowhere.sqlite"))
    assert list(tmp_path.iterdir()) == []


def test_without_prompts_each_pair_stands_for_itself(tmp_path):
    """One empty prompt for all would leave no interval, and nothing for the temperature."""
    rows = [{"prompt": "", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(40)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = read_card_data(str(path))
    assert len(data.test) + len(data.validation) == 40
    assert min(len(data.test), len(data.validation)) > 0
    assert len(set(grouped(drawn_with(data.test)))) == len(data.test)


def test_the_share_for_the_temperature_is_not_the_share_that_was_held_out(tmp_path):
    """Hashed alike, all that a training held out would go to the temperature, or none of it."""
    items = [answer("a", "b", prompt=f"p{n}") for n in range(2000)]
    held_out = divide(items, share=0.1).held_out
    path = tmp_path / "held_out.jsonl"
    write_preferences(held_out, path)
    data = read_card_data(str(path), share=0.25)
    share = len(data.validation) / len(held_out)
    assert 0.15 < share < 0.35  # of 200: three standard deviations


def test_what_a_model_learned_from_is_not_measured_on(tmp_path):
    """By its prompt, or without one by a text of it, for the temperature as well; it is counted."""
    rows = [("p", "a", "b"), ("q", "a", "c"), ("", "d", "e"), ("", "f", "g"), ("r", "h", "i")]
    pairs = [answer(chosen, rejected, prompt=prompt) for prompt, chosen, rejected in rows]
    learned = traces_of([pairs[0], answer("e", "x", prompt="")])
    for name in ("data", "other"):
        write_preferences(pairs, tmp_path / f"{name}.jsonl")
    data = read_card_data(str(tmp_path / "data.jsonl"), share=0, learned=learned)
    assert [(label.prompt, label.chosen) for label in data.test] == [
        ("q", "a"),
        ("", "f"),
        ("r", "h"),
    ]
    assert data.left_out == {
        "answers about a prompt or text that the reward or a member learned from": 2
    }
    with pytest.raises(ValueError, match=r"all 5 answers .* learned from: give others"):
        read_card_data(str(tmp_path / "data.jsonl"), learned=traces_of(pairs))
