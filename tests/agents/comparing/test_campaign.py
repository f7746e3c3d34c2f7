"""A study gives the same numbers however it is run, and hides no failure."""

import json

import pytest

from agents.comparing.campaign import read_outcomes, run_study
from agents.comparing.executors import Here, Job, LocalProcesses, make_executor
from agents.comparing.study import Study, named, read_study
from tests.agents.comparing.parts import HERE, StopsAfter, small

PPO = {"ppo": {"agent": "ppo", "settings": {"learning_rate": 3e-3, "minibatches": 2}}}


def results(outcomes):
    return [each.result for each in outcomes]


def texts(outcomes):
    return [each.texts("end") for each in outcomes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    study = small(agents=PPO)
    return study, run_study(study, tmp_path_factory.mktemp("whole"), Here())


def test_every_reward_has_its_controls_beside_it(whole):
    study, outcomes = whole
    places = [(each.reward, each.agent, each.seed) for each in outcomes]
    names = ["vowels", "constant", "length", "gold"]
    assert places == [(n, a, 0) for a in ("best-of-n", "ppo") for n in names]
    assert [each.result["status"] for each in outcomes] == ["done"] * 8
    assert study.cells()[0].agent == "best-of-n"  # what is cheap comes first


def test_all_start_from_the_same_texts(whole):
    _, outcomes = whole
    starts = {json.dumps(each.texts("start")) for each in outcomes if each.agent == "ppo"}
    assert len(starts) == 1


def test_what_is_the_same_for_all_rewards_is_made_once_in_a_process(tmp_path):
    """Cells that stand alone give what they give together, and the first of a seed pays."""
    from agents.comparing import cells

    study = small(prompts=7, seeds=2)
    together = run_study(study, tmp_path / "together", Here())
    for cell in study.cells():
        cells._start_texts.cache_clear()
        run_one(cell, tmp_path / "alone" / "cells")
    alone = read_outcomes(study, tmp_path / "alone")
    calls = zip(
        *([e.cost["reward_calls"] for e in each] for each in (alone, together)), strict=True
    )
    assert [by_itself - shared for by_itself, shared in calls] == [0, 4, 4, 4] * 2
    first, second = (next(e for e in together if e.seed == seed).texts("start") for seed in (0, 1))
    assert first != second  # a seed is a replicate, its texts are its own
    assert results(alone) == results(together)
    assert texts(alone) == texts(together)


def test_interrupted_and_resumed_is_uninterrupted_and_two_runs_are_one(whole, tmp_path):
    study, outcomes = whole
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path, StopsAfter(5))
    assert len(read_outcomes(study, tmp_path)) == 5
    seen = []
    again = run_study(study, tmp_path, Here(), progress=lambda *said: seen.append(said[0]))
    assert seen == [5, 6, 7, 8]
    assert results(again) == results(outcomes)
    assert texts(again) == texts(outcomes)


def test_a_measurement_is_the_mean_of_the_texts_that_are_kept(whole):
    """By the vowels counted here, and the letters."""
    _, outcomes = whole
    for cell in outcomes:
        ends = cell.texts("end")
        count = sum(letter in "aeiou" for text in ends for letter in text["completion"])
        if cell.agent == "ppo":
            last = cell.snapshots[-1]["scores"]
            assert last["vowels"]["mean"] == pytest.approx(count / len(ends))
    best = outcomes[0].texts("end")
    start = outcomes[0].texts("start")
    for chosen, first in zip(best, start, strict=True):
        assert chosen["scores"]["vowels"] >= first["scores"]["vowels"]


def test_the_best_of_n_costs_all_that_was_written_and_a_constant_knows_half(whole):
    """Four completions of each prompt; a constant ties every pair that the gold tells apart."""
    _, (first, constant, *_) = whole
    assert [each["n"] for each in first.snapshots] == [1, 2, 4]
    assert first.snapshots[-1]["tokens"] == first.cost["tokens"]
    assert first.snapshots[0]["tokens"] == round(first.cost["tokens"] / 4)
    assert constant.reward == "constant"
    known = constant.result["predictors"]
    assert (known["accuracy"], known["spread"], known["best-of-n gain"]) == (0.5, 0.0, 0.0)


def test_every_agent_has_spent_the_tokens_that_it_was_given(whole):
    study, outcomes = whole
    for cell in outcomes[4:]:
        assert study.tokens <= cell.snapshots[-1]["tokens"] <= study.tokens + 8 * 6
        assert [each["tokens"] == 0 for each in cell.snapshots].count(True) == 1
        half = cell.snapshots[1]["tokens"]
        assert study.tokens / 4 <= half < study.tokens / 2  # halfway to the root of the tokens


@pytest.mark.parametrize(
    ("agent", "settings", "why", "message"),
    [
        ("broken", {}, "crash", "the agent is broken"),
        ("spender", {}, "tokens", "its budget was 200"),
        ("ppo", {"seconds": 1e-6}, "time", "more than 1e-06 seconds"),
        ("ppo", {"kl_budget": 1e-9}, "KL budget", "left 1e-09 nats"),
    ],
)
def test_a_failed_cell_stays_as_failed(tmp_path, agent, settings, why, message):
    kind = agent if agent == "ppo" else f"{HERE}:{agent}"
    rate = {"settings": {"learning_rate": 3e-3}} if agent == "ppo" else {}
    study = small(agents={"it": {"agent": kind, **rate}}, **settings)
    wanted = next(each for each in study.cells() if (each.reward, each.agent) == ("vowels", "it"))
    run_one(wanted, tmp_path / "cells")
    (cell,) = read_outcomes(study, tmp_path)
    assert (cell.failed, cell.result["why"]) == (True, why)
    assert message in cell.result["message"]
    assert cell.snapshots[0]["tokens"] == 0  # what was measured before stays


def run_one(cell, folder):
    from agents.comparing.cells import run_cell

    run_cell(json.dumps(cell.as_json()), str(folder / cell.name))


def test_parts_apart_are_a_condition_and_parts_are_measured(tmp_path):
    """GDPO stands beside GRPO; a reward of one part is learned from by both."""
    both = [[f"{HERE}:vowels", 1.0], ["length", -0.1]]
    fast = {"learning_rate": 0.03}
    agents = {
        name: {"agent": "grpo", "settings": {"parts": name, "group_size": 4, **fast}}
        for name in ("sum", "apart")
    }
    study = small(tokens=100, rewards={"both": both}, agents=agents)
    for cell in study.cells():
        if cell.agent in agents and cell.reward in ("both", "gold"):
            run_one(cell, tmp_path / "cells")
    found = {(e.reward, e.agent): e for e in read_outcomes(study, tmp_path)}
    assert [each.result["message"] for each in found.values()] == [""] * 4
    moved = [found["both", name].snapshots[-1]["scores"]["both"] for name in agents]
    assert moved[0] != moved[1]
    for name in agents:
        for each in found["both", name].snapshots:
            parts = [part["mean"] for part in each["components"].values()]
            assert parts[0] - 0.1 * parts[1] == pytest.approx(each["scores"]["both"]["mean"])
        assert not found["gold", name].snapshots[0]["components"]


def test_pairs_that_the_reward_decides_are_a_condition(tmp_path):
    """DPO writes pairs and learns which is better; its checkpoints lie along the KL as others'."""
    study = small(agents={"dpo": {"agent": "dpo", "settings": {"learning_rate": 3e-3}}})
    wanted = next(each for each in study.cells() if (each.reward, each.agent) == ("vowels", "dpo"))
    run_one(wanted, tmp_path / "cells")
    (cell,) = read_outcomes(study, tmp_path)
    assert not cell.failed, cell.result["message"]
    moved = [abs(each["kl"]) > 1e-4 for each in cell.snapshots]  # of few texts it may be below 0
    assert moved == [False, *[True] * study.snapshots]
    assert cell.cost["seconds"].keys() >= {"collect", "update", "measure", "scoring", "all"}
    assert cell.cost["memory_mib"] > 0


def test_a_constant_that_teaches_nothing_is_the_floor_and_no_failure(tmp_path):
    """Ten iterations without a gradient stop a learner, and here show what nothing gains."""
    free = {"settings": {"kl_coefficient": 0.0}}
    study = small(tokens=800, agents={"grpo": {"agent": "grpo", **free}})
    wanted = next(e for e in study.cells() if (e.reward, e.agent) == ("constant", "grpo"))
    run_one(wanted, tmp_path / "cells")
    (cell,) = read_outcomes(study, tmp_path)
    assert not cell.failed, cell.result["message"]
    assert cell.snapshots[-1]["tokens"] == 800
    assert cell.snapshots[-1]["scores"] == cell.snapshots[0]["scores"]


def test_a_reward_that_fails_fails_its_own_cells_alone(tmp_path):
    study = small(rewards={"vowels": f"{HERE}:vowels", "fails": f"{HERE}:fails"})
    found = {each.reward: each for each in run_study(study, tmp_path, Here())}
    assert {name for name, each in found.items() if each.failed} == {"fails"}
    assert found["fails"].result["why"] == "reward"
    assert "no judge is there" in found["vowels"].result["missing"]["fails"]
    assert "fails" not in found["vowels"].snapshots[0]["scores"]


def test_anybodys_agent_runs_beside_ours(tmp_path):
    """It says the last letter to the end, six of them."""
    study = small(agents={"clerk": {"agent": f"{HERE}:clerk"}})
    (cell,) = [
        each
        for each in run_study(study, tmp_path, Here())
        if (each.reward, each.agent) == ("vowels", "clerk")
    ]
    assert not cell.failed, cell.result["message"]
    assert cell.snapshots[-1]["tokens"] == 8
    assert cell.snapshots[-1]["kl"] is None
    assert {text["completion"] for text in cell.texts("end")} == {"hhhhhh"}
    assert cell.snapshots[-1]["scores"]["vowels"]["mean"] == 0


def test_a_failed_cell_is_run_again_when_asked_for_alone(tmp_path):
    study = small(rewards={"fails": f"{HERE}:fails"})
    run_study(study, tmp_path, Here())
    ran = []
    for retry in (False, True):
        counting = Counting()
        run_study(study, tmp_path, counting, retry=retry)
        ran.append(counting.count)
    assert ran == [0, 1]


class Counting:
    count = 0

    def run(self, jobs, ended):
        self.count = len(jobs)
        Here().run(jobs, ended)


def test_another_study_is_not_mixed_in(tmp_path):
    small().save(tmp_path)
    small().save(tmp_path)
    with pytest.raises(ValueError, match="holds a study with tokens 200, not 300"):
        small(tokens=300).save(tmp_path)


def test_a_study_of_other_files_is_not_mixed_in(tmp_path, monkeypatch):
    """A reward's module was edited between two cells."""
    monkeypatch.syspath_prepend(tmp_path)
    mine = tmp_path / "my_rewards_43.py"
    mine.write_text("def mine(prompts, completions): return [0.0 for _ in completions]")
    study = small(rewards={"mine": "my_rewards_43:mine"})
    study.save(tmp_path / "study")
    study.save(tmp_path / "study")
    mine.write_text("def mine(prompts, completions): return [1.0 for _ in completions]")
    with pytest.raises(ValueError, match="holds a study of other contents of my_rewards_43:mine:"):
        study.save(tmp_path / "study")


def test_a_study_is_read_as_it_was_saved(tmp_path):
    study = small(agents=PPO, gold={"clip": {"reward": "length", "low": 0}})
    study.save(tmp_path)
    assert read_study(tmp_path) == study
    (tmp_path / "study.json").write_text('{"env": "a", "rewards": {"b": "c"}, "sedes": 3}')
    with pytest.raises(ValueError, match="did you mean seeds"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "seeds must be a whole number"),
        ({"rewards": {}}, "name one reward"),
        ({"rewards": {"gold": "length"}}, "choose another name"),
        ({"kl_budget": 0.0}, "kl_budget must be above 0"),
        ({"env_kwargs": {"split": "test"}}, "give train_split"),
        ({"agents": {"mine": {}}}, "needs"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_rewards_are_named_by_words():
    assert named(["vader", "a=length", 'b={"clip": {"reward": "length"}}', "m:f"]) == {
        "vader": "vader",
        "a": "length",
        "b": {"clip": {"reward": "length"}},
        "m:f": "m:f",
    }
    with pytest.raises(ValueError, match="named twice"):
        named(["a=length", "a=vader"])


def test_cells_have_folders_of_their_own():
    names = [each.name for each in small(rewards={"a/b": "length", "a-b": "length"}).cells()]
    assert len(set(names)) == len(names)
    assert not any("/" in name for name in names)
    assert isinstance(small(), Study)


def all_but(count, study, folder):
    """Runs the study here, but for its last cells."""
    with pytest.raises(KeyboardInterrupt):
        run_study(study, folder, StopsAfter(len(study.cells()) - count))


@pytest.mark.slow
def test_parallel_is_sequential(tmp_path):
    study = small()
    all_but(2, study, tmp_path / "parallel")
    parallel = run_study(study, tmp_path / "parallel", LocalProcesses(2))
    sequential = run_study(study, tmp_path / "sequential", Here())
    assert results(parallel) == results(sequential)
    assert texts(parallel) == texts(sequential)


@pytest.mark.slow
def test_a_process_that_dies_is_a_crash(tmp_path):
    study, ended = small(agents={"dies": {"agent": f"{HERE}:dies"}}), []
    job = Job(json.dumps(study.cells()[-1].as_json()), str(tmp_path / "cell"), None, 1)
    LocalProcesses(1).run([job], lambda _, why, said: ended.append((why, said)))
    ((why, said),) = ended
    assert why == "crash"
    assert "status 3" in said
    assert not (tmp_path / "cell").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["submitit:local", "ray"])
def test_other_executors_give_the_same(tmp_path, name):
    pytest.importorskip(name.partition(":")[0])
    study = small()
    all_but(1, study, tmp_path / "there")
    there = run_study(study, tmp_path / "there", make_executor(name, workers=1, folder=tmp_path))
    here = run_study(study, tmp_path / "here", Here())
    assert results(there) == results(here)
    assert texts(there) == texts(here)


def test_an_executor_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="known: processes, here, submitit, ray"):
        make_executor("cloud", workers=1, folder=tmp_path)
