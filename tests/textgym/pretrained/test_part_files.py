"""Parts that several processes wrote are read as the whole that they are of, or not at all."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from transformers import GPT2Config, GPT2LMHeadModel

from tests.spread_files import cut_in_two
from textgym.pretrained.checkpoints import CheckpointError
from textgym.pretrained.models import open_causal_model, open_trunk
from textgym.pretrained.part_files import PARTS, PartFiles, write_parts

TENSORS = {
    "odd": torch.arange(15.0).reshape(5, 3),
    "narrow": torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16),  # the second process has no row
    "counts": torch.arange(4),
}


@pytest.fixture
def folder(tmp_path):
    save_file(TENSORS, tmp_path / "whole.safetensors")
    cut_in_two(tmp_path / "whole.safetensors", tmp_path / PARTS)
    return tmp_path / PARTS


def test_two_processes_parts_are_the_whole(folder):
    files = PartFiles(folder)
    assert files.shapes == {"odd": (5, 3), "narrow": (1, 2), "counts": (4,)}
    found = files.whole()
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    own = torch.full((5, 3), 7.0, requires_grad=True)
    files.read_into({"odd": own})
    assert torch.equal(own, TENSORS["odd"])


@pytest.mark.parametrize("file", [1, 2])
def test_a_missing_part_is_noticed_before_a_number_is_read(folder, file):
    """torch leaves what it does not find as it was."""
    (folder / f"shard-0000{file}-model-00001-of-00001.safetensors").unlink()
    with pytest.raises(ValueError, match=r"there are .* the file of another process is missing"):
        PartFiles(folder)


def test_what_is_damaged_is_said_in_one_line(folder):
    part = folder / "shard-00002-model-00001-of-00001.safetensors"
    part.write_bytes(part.read_bytes()[:-4])
    with pytest.raises(OSError, match=r"^[^\n]+$"):
        PartFiles(folder)
    (folder / "tensors.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tensors\.json"):
        PartFiles(folder)


def test_what_is_not_there_is_not_made_up(folder):
    with pytest.raises(OSError, match=r"^Missing key in checkpoint state_dict: other\.$"):
        PartFiles(folder).read_into({"other": torch.zeros(2)})
    with pytest.raises(OSError, match=r"^Size mismatch .* for odd$"):
        PartFiles(folder).read_into({"odd": torch.zeros(2, 3)})


@pytest.fixture
def alone():
    """A group of one process, in this one."""
    store = distributed.HashStore()
    distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("tensors", [TENSORS, {}], ids=["some", "none"])
def test_what_is_written_is_read(tensors, tmp_path):
    """In files of safetensors, and of moments nothing before the first step."""
    write_parts(tensors, tmp_path / "written")
    found = PartFiles(tmp_path / "written").whole()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    for path in (tmp_path / "written").iterdir():
        assert path.suffix in {".safetensors", ".json"}
        if path.suffix == ".safetensors":
            assert load_file(path).keys() == tensors.keys()


@pytest.mark.usefixtures("alone")
def test_what_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^[^\n]*(Not a directory|File exists)[^\n]*$"):
        write_parts(TENSORS, tmp_path / "file" / "below")


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8, "vocab_size": 11}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2))
    model.generation_config.max_new_tokens = 5
    model.save_pretrained(tmp_path / "model")
    cut_in_two(tmp_path / "model" / "model.safetensors", tmp_path / "model" / PARTS)
    return model.eval()


def test_a_language_model_in_parts_is_the_model(model, tmp_path):
    again = open_causal_model(tmp_path / "model", dtype=torch.float32, attention="eager")
    assert again.lm_head.weight is again.transformer.wte.weight
    assert not again.training
    assert again.generation_config.max_new_tokens == 5
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    narrow = open_causal_model(tmp_path / "model", dtype=torch.bfloat16)
    assert torch.equal(narrow.lm_head.weight, model.lm_head.weight.bfloat16())


@pytest.mark.usefixtures("model")
def test_parts_of_another_model_and_other_openers_refuse(tmp_path):
    with pytest.raises(CheckpointError, match="in parts: textgym export makes one folder of them"):
        open_trunk(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"n_layer": 1', '"n_layer": 2'))
    with pytest.raises(CheckpointError, match=r"it lacks \d+ weights, transformer.h.1"):
        open_causal_model(tmp_path / "model", dtype=torch.float32)
