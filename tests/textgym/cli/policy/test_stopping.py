"""``textgym train`` that ends early: what is kept, what it says, and that it goes on as if not."""

import signal

import pytest
from safetensors import SafetensorError

from agents import learner
from agents.models.policy import TransformerPolicy
from agents.ppo import PPOConfig
from agents.training import checkpoint
from tests.textgym.cli.policy.test_train import _config, _run
from textgym.cli.parsing import CommandError
from textgym.cli.policy.train import train_ppo


def _same_weights(one, other):
    first, second = (
        TransformerPolicy.from_pretrained(path / "policy").state_dict() for path in (one, other)
    )
    return all((value == second[name]).all() for name, value in first.items())


def _at_iteration(number, do):
    """Makes ``Learner.step`` do something at the beginning of one iteration, once."""
    step, done = learner.Learner.step, []

    def stepped(self):
        if self.iteration + 1 == number and not done:
            done.append(number)
            do()
        return step(self)

    return stepped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_its_iteration_and_loses_nothing(
    number, tmp_path, capsys, monkeypatch
):
    _run(train_ppo, _config(tmp_path / "straight"), capsys)
    config = _config(tmp_path / "stopped", save_every=100)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(
            learner.Learner, "step", _at_iteration(3, lambda: signal.raise_signal(number))
        )
        with pytest.raises(KeyboardInterrupt, match=r"iteration 3 is kept in .*, and the same"):
            train_ppo(config)
    assert "stopping after this iteration; again, and it stops at once" in capsys.readouterr().err
    assert handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    assert "goes on after iteration 3" in _run(train_ppo, config, capsys)
    assert _same_weights(tmp_path / "straight", tmp_path / "stopped")


def test_a_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(learner.Learner, "step", _at_iteration(2, twice))
    with pytest.raises(KeyboardInterrupt, match="iteration 1 is kept"):
        train_ppo(_config(tmp_path, save_every=100))


def test_a_stop_in_the_first_iteration_says_that_nothing_is_kept(tmp_path, monkeypatch):
    def stops():
        raise KeyboardInterrupt

    monkeypatch.setattr(learner.Learner, "step", _at_iteration(1, stops))
    with pytest.raises(KeyboardInterrupt, match="nothing is kept yet, and the same command begins"):
        train_ppo(_config(tmp_path))


def test_out_of_memory_keeps_the_iterations_and_goes_on_with_smaller_passes(
    tmp_path, capsys, monkeypatch
):
    """What the message says to lower may be lowered; the gradient is the same but for rounding."""

    def full():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    config = _config(tmp_path, save_every=100)
    with monkeypatch.context() as patch:
        passes, evaluate = [], learner.evaluate_all

        def evaluated(*args, **kwargs):
            passes.append(1)
            return full() if len(passes) == 3 else evaluate(*args, **kwargs)

        patch.setattr(learner, "evaluate_all", evaluated)
        with pytest.raises(
            CommandError, match=r"out of memory: lower micro_batch_tokens.*; iteration 2"
        ):
            train_ppo(config)
    smaller = PPOConfig(iterations=4, minibatches=2, micro_batch_tokens=16)
    assert "goes on after iteration 2" in _run(
        train_ppo, _config(tmp_path, ppo=smaller, save_every=100), capsys
    )


@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_a_full_disk_is_one_line_and_goes_on(kind, tmp_path, capsys, monkeypatch):
    _run(train_ppo, _config(tmp_path / "straight"), capsys)
    saved = checkpoint.write_tensors

    def full(path, _):
        path.write_bytes(b"half")
        raise kind("No space left on device")

    config = _config(tmp_path / "full", save_every=1)
    with monkeypatch.context() as patch:
        saves = []

        def third_is_full(path, waiting):
            saves.append(path)
            return (full if len(saves) == 3 else saved)(path, waiting)

        patch.setattr(checkpoint, "write_tensors", third_is_full)
        with pytest.raises(CommandError, match=r"cannot write into .*No space left.*; iteration 2"):
            train_ppo(config)
    assert "goes on after iteration 2" in _run(train_ppo, config, capsys)
    assert _same_weights(tmp_path / "straight", tmp_path / "full")


def test_prompts_that_the_tokenizer_cannot_read_are_one_line(tmp_path, capsys):
    _run(train_ppo, _config(tmp_path / "letters", total_timesteps=1), capsys)
    config = _config(
        tmp_path / "out",
        policy=str(tmp_path / "letters" / "policy"),
        env_kwargs='{"task": "Arithmetic"}',
    )
    with pytest.raises(CommandError, match="is not in the alphabet 'abcdefgh'"):
        train_ppo(config)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_else(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CommandError, match=f"--out {out}: {tmp_path / 'file'} is a file; name"):
            train_ppo(_config(out))
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "model.safetensors").write_text("mine")
    with pytest.raises(CommandError, match="policy is there and of no run of this command"):
        train_ppo(_config(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"file", "policy"}
