"""The closed loop: each step once, whatever stops it, with simulated annotators and with people."""

import io
import json
import shutil
import threading
from dataclasses import fields, replace

import pytest
from rich.console import Console

from agents.ppo import PPOConfig
from examples.experiments.closed_loop import LETTERS, settings, worth
from reward_models.learning.settings import RewardTrainingConfig
from reward_models.preferences import Answer, PreferenceStore
from textgym.cli.feedback import asking
from textgym.cli.feedback import loop as loop_module
from textgym.cli.feedback import rounds as rounds_module
from textgym.cli.feedback.loop import LoopConfig, _contents, loop
from textgym.cli.parsing import CommandError
from textgym.cli.stages import RunError
from textgym.provenance import other_contents

SMALL = {
    "policy": "scratch:gpt2?layers=1&width=16&heads=2&positions=16",
    "pairs": 10,
    "rounds": 2,
    "num_envs": 32,  # more than there are texts of pairs, or to evaluate
    "evaluation_texts": 16,
    "members": 1,
    "reward": RewardTrainingConfig(max_length=12),
    "ppo": PPOConfig(iterations=2, minibatches=1, epochs=1),
}


def run(out, **changed):
    to = Console(file=io.StringIO(), width=200)
    loop(settings(out, 0, **(SMALL | changed)), to)
    return to.file.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run's folder and what it said."""
    out = tmp_path_factory.mktemp("whole") / "loop"
    return out, run(out)


def test_the_truth_of_the_toy_is_the_mean_worth_of_its_places():
    assert worth([""] * 3, ["aaaaaa", "h", "aahh"]) == pytest.approx([1, 0, 2 / 6])
    assert len(LETTERS) == 8


def test_rounds_stand_side_by_side_and_the_same_command_has_nothing_left_to_do(whole):
    out, said = whole
    table = [line for line in said.splitlines() if line.startswith("|")]
    assert table[0].startswith("| round | gold | wins against the start | KL from the start |")
    assert [line.split(" |")[0] for line in table[2:]] == ["| 0", "| 1", "| 2"]
    assert (out / "report.md").read_text().splitlines() == table
    with PreferenceStore(out / "preferences.sqlite") as store:
        pairs, answers = store.pairs(), store.answers()
        assert {pair.split for pair in pairs} == {"round 1", "round 2"}
        written = {(text.policy, text.checkpoint) for text in store.provenance()}
        assert {policy for policy, _ in written} == {"round 0", "round 1"}
        assert len({checkpoint for _, checkpoint in written} - {""}) == 2, "each its own weights"
        assert {(p.split, p.policy_a) for p in pairs} == {
            ("round 1", "round 0"),
            ("round 2", "round 1"),
        }
        assert len(answers) == 3 * len(pairs)
    begun = json.loads((out / "config.json").read_text())["contents"]
    assert {"examples.experiments.closed_loop:worth", "the prompts of TextGym/Alphabet-v0"} == {
        *begun
    }
    again = run(out)
    assert again.count("done before") == 11
    assert [line for line in again.splitlines() if line.startswith("|")] == table
    with pytest.raises(RunError, match="made with another pairs"):
        run(out, pairs=12)


_WORDS = {"env", "out", "rule", "votes", "device", "annotators"}


@pytest.mark.parametrize(
    "name", [f.name for f in fields(LoopConfig) if "str" in str(f.type) and f.name not in _WORDS]
)
def test_a_loop_whose_files_changed_is_told_so(tmp_path, name, monkeypatch):
    """Settings were compared, and not what lies at the paths that they name."""
    monkeypatch.syspath_prepend(tmp_path)
    data, module, folder = (tmp_path / x for x in ("data.jsonl", "my_truth_44.py", "model"))
    data.write_text('{"prompt": "a", "reference": "b"}\n' * 9)
    module.write_text("def worth(prompts, completions): return [0.0 for _ in completions]")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    task = json.dumps({"task": f"{data}?prompt=prompt", "tokenizer": "characters:abc"})
    named = {
        "truth": (module, "my_truth_44:worth"),
        "env_kwargs": (data, task),
        "evaluation_kwargs": (data, task),
        "model": (folder / "config.json", str(folder)),
        "policy": (folder / "config.json", str(folder)),
    }
    path, given = named[name]
    shutil.copytree(folder, tmp_path / "loop" / "start")  # what is kept needs no other
    config = settings(tmp_path / "loop", 0, **(SMALL | {"device": "cpu", name: given}))
    before = _contents(config)
    assert other_contents(before, _contents(config)) == ""
    path.write_text(path.read_text().replace("0.0", "1.0") + "\n")
    assert given.partition("{")[0] in other_contents(before, _contents(config))


def test_a_round_that_was_stopped_goes_on_at_its_step_and_ends_alike(tmp_path, whole, monkeypatch):
    """Stopped in the second round's answers, when some were given."""
    answered = asking.answer_all
    calls = []

    def interrupted(store, annotators, split=None):
        calls.append(split)
        if split == "round 2" and calls.count("round 2") == 1:
            answered(store, annotators[:1], split)
            raise KeyboardInterrupt
        return answered(store, annotators, split)

    monkeypatch.setattr("textgym.cli.feedback.rounds.answer_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    said = run(tmp_path / "stopped")
    assert calls == ["round 1", "round 2", "round 2"]
    assert "Round 2, pairs are written: done before" in said
    tables = [[x for x in s.splitlines() if x.startswith("|")] for s in (whole[1], said)]
    assert tables[0] == tables[1]


def test_a_loop_that_is_stopped_in_every_step_ends_alike(tmp_path, whole, monkeypatch):
    """Each step is stopped once: when its work is done, and nothing says so yet.

    Writing is stopped as soon as the store has the pairs, and PPO in the middle.
    """
    stopped, steps, add = set(), loop_module._stage, PreferenceStore.add_pairs
    prune = rounds_module.prune

    def stop(place):
        if place not in stopped:
            stopped.add(place)
            raise KeyboardInterrupt

    def step(*given):
        made = steps(*given)

        def work(run):
            figures = made.work(run)
            stop(made.name)
            return figures

        return replace(made, work=work)

    def add_and_stop(store, pairs, *given):
        add(store, pairs, *given)
        stop(f"{pairs[0].split}, pairs")

    def prune_later(folder, **given):
        stop(f"{folder.parent.name}, PPO")
        prune(folder, **given)

    monkeypatch.setattr(loop_module, "_stage", step)
    monkeypatch.setattr(PreferenceStore, "add_pairs", add_and_stop)
    monkeypatch.setattr(rounds_module, "prune", prune_later)
    monkeypatch.setattr(rounds_module, "_SAVE_EVERY", 1)
    said = None
    while said is None:
        before = len(stopped)
        try:
            said = run(tmp_path / "stopped")
        except KeyboardInterrupt:
            assert len(stopped) == before + 1
    assert len(stopped) == 11 + 2 + 2
    tables = [[x for x in s.splitlines() if x.startswith("|")] for s in (whole[1], said)]
    assert tables[0] == tables[1]
    kept = []
    for folder in (whole[0], tmp_path / "stopped"):
        with PreferenceStore(folder / "preferences.sqlite") as store:
            answers = [replace(answer, key="") for answer in store.answers()]
            kept.append((store.pairs(), answers, [text.policy for text in store.provenance()]))
    assert kept[0] == kept[1]


def test_people_are_waited_for_and_told_how(tmp_path, monkeypatch):
    """Somebody answers in another thread while the loop sleeps; a skip is no answer."""
    monkeypatch.setattr(asking, "_SECONDS", 0.05)
    asleep = threading.Event()
    real = asking.time.sleep
    monkeypatch.setattr(asking.time, "sleep", lambda s: (asleep.set(), real(s)))
    done = []

    def person():
        done.append(asleep.wait(60))
        with PreferenceStore(tmp_path / "loop" / "preferences.sqlite") as store:
            pairs = store.pairs("round 1")
            first, others = pairs[0].pair_id, pairs[1:]
            store.record_answers([Answer(pair_id=first, annotator="anna", answer="skip")])
            store.record_answers(
                [Answer(pair_id=p.pair_id, annotator="anna", answer="a") for p in others]
            )
            assert asking.missing_answers(store, "round 1", 1) == 1
            assert asking.missing_answers(store, "round 1", 2) == len(pairs) + 1
            store.record_answers([Answer(pair_id=first, annotator="ben", answer="b")])
        done.append(True)

    thread = threading.Thread(target=person)
    thread.start()
    said = run(tmp_path / "loop", annotators=(), truth=None, rounds=1)
    thread.join()
    assert done == [True, True], "it slept, and then it was answered"
    assert "round 1 waits for answers: textgym label" in said
    assert '--split "round 1" --answers 1' in said
    assert "gold" not in said


def test_pairs_are_chosen_by_what_the_last_reward_is_unsure_of(tmp_path):
    run(tmp_path / "loop", rule="even", pool=3, control=0.3)
    written = json.loads((tmp_path / "loop/stages/round_2_write.json").read_text())
    assert written["candidates"] > written["pairs"]
    assert 0 < len(written["control"]) < written["pairs"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"truth": None}, "--annotators need --truth"),
        ({"annotators": ("lazy",)}, "unknown kind of annotator 'lazy'"),
        ({"rule": "disagreement"}, "needs --members 2"),
        ({"evaluation_kwargs": "{"}, "--evaluation-kwargs is no JSON"),
        ({"evaluation_kwargs": "1"}, "--evaluation-kwargs must be a JSON object"),
        ({"truth": "veder"}, "--truth: .*vader"),
        ({"env": "TextGym/Alphabet-v1"}, "unknown environment"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path, changed, said):
    with pytest.raises(CommandError, match=said) as refused:
        run(tmp_path / "loop", **changed)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.learning
def test_gold_rises_over_three_rounds(tmp_path):
    """With two of three annotators careful enough, on the toy of the experiment."""
    out = tmp_path / "loop"
    loop(settings(out, 0, members=1), Console(file=io.StringIO()))
    stages = json.loads((out / "report.json").read_text())["stages"]
    gold = [stages[f"round_{number}_evaluate"]["gold"] for number in range(4)]
    assert gold[0] + 0.05 < gold[1] < gold[3] - 0.05
    assert stages["round_3_evaluate"]["win_rate"] > 0.8


def test_texts_of_one_letter_go_round_too(tmp_path):
    """They have no bigram, so nothing says how varied they are."""
    task = {"env": "TextGym/Bandit-v0", "truth": "textgym.tasks.toys:bandit_score"}
    said = run(tmp_path / "loop", **task, rounds=1)
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert [row.split(" |")[0] for row in rows[2:]] == ["| 0", "| 1"]
    stages = json.loads((tmp_path / "loop" / "report.json").read_text())["stages"]
    assert [stages[f"round_{n}_evaluate"]["distinct_2"] for n in (0, 1)] == [None, None]
