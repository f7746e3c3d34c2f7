"""One device and silence, whatever the machine has."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from textgym.pretrained.training_arguments import training_arguments


def make(folder, device, **settings):
    return training_arguments(folder, device=device, batch_size=8, seed=3, **settings)


@pytest.fixture
def four_gpus(monkeypatch):
    """A machine on which torch counts four."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)


@pytest.mark.usefixtures("four_gpus")
def test_a_batch_is_as_large_on_a_machine_with_several_gpus(tmp_path):
    """Trainer's own way takes four times as many examples an update, and copies the model."""
    plain = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=8)
    assert (plain.n_gpu, plain.train_batch_size) == (4, 32)
    ours = make(tmp_path, "cuda")
    assert (ours.n_gpu, ours.train_batch_size) == (1, 8)


@pytest.mark.usefixtures("four_gpus")
def test_trainer_leaves_the_model_alone_on_a_machine_with_several_gpus(tmp_path):
    """And its batches are those that were asked for; nn.DataParallel would take 32."""
    seen = []

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            seen.append(len(x))
            return {"loss": (self.weight * x).mean()}

    trainer = Trainer(
        model=Model(),
        args=make(tmp_path, "cuda", max_steps=2, save_strategy="no", dataloader_pin_memory=False),
        train_dataset=[{"x": float(number)} for number in range(64)],
        data_collator=lambda rows: {"x": torch.tensor([row["x"] for row in rows])},
    )
    trainer.train()
    assert seen == [8, 8]
    assert type(trainer.model_wrapped) is Model


def test_a_processor_has_no_gpu(tmp_path):
    arguments = make(tmp_path, "cpu")
    assert (arguments.n_gpu, arguments.device.type) == (0, "cpu")


def test_what_a_caller_says_besides_is_kept(tmp_path):
    """Also against what all have in common."""
    arguments = make(tmp_path, "cuda", dataloader_pin_memory=False, save_steps=7, data_seed=5)
    assert (arguments.output_dir, arguments.seed) == (str(tmp_path), 3)
    said = arguments.dataloader_pin_memory, arguments.save_steps, arguments.data_seed
    assert said == (False, 7, 5)
    assert (arguments.report_to, arguments.disable_tqdm) == ([], True)
