"""The door is one for every kind of model: whole, safetensors alone, and none of their code."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BloomConfig,
    BloomModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
    dynamic_module_utils,
)

from tests import damages
from textgym.pretrained.checkpoints import CheckpointError
from textgym.pretrained.models import (
    make_trunk,
    open_causal_model,
    open_classifier,
    open_config,
    open_own,
    open_trunk,
    room,
    without_dropout,
)

BERT = BertConfig(
    vocab_size=9,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    max_position_embeddings=16,
)
GPT2 = GPT2Config(vocab_size=9, n_positions=16, n_embd=8, n_layer=1, n_head=2)
IDS = torch.tensor([[1, 2, 3, 4]])


class OwnConfig(PretrainedConfig):
    model_type = "own-test"

    def __init__(self, width=4, initializer_range=0.02, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.initializer_range = initializer_range + 0.0  # a word is refused here


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(config.width, 1)
        self.post_init()


OPENERS = {
    "causal": (
        lambda: GPT2LMHeadModel(GPT2),
        lambda folder: open_causal_model(folder, dtype=torch.float32),
    ),
    "trunk": (lambda: BertModel(BERT), open_trunk),
    "classifier": (lambda: BertForSequenceClassification(BERT), open_classifier),
    "own": (
        lambda: OwnModel(OwnConfig()),
        lambda folder: open_own(OwnModel, folder, what="reward model"),
    ),
}


@pytest.fixture(params=OPENERS)
def kind(request):
    return request.param


@pytest.fixture
def opened(kind):
    return OPENERS[kind][1]


@pytest.fixture
def folder(kind, tmp_path):
    torch.manual_seed(0)
    OPENERS[kind][0]().save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def asked(monkeypatch):
    """What was asked on the terminal; the answer is yes."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    return asked


def test_a_whole_model_has_the_weights_that_were_saved(folder, opened):
    model = opened(folder)
    saved, state = load_file(folder / "model.safetensors"), model.state_dict()
    assert not model.training
    for name, value in saved.items():
        if not name.startswith("pooler."):
            assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("damage", damages.MODEL)
def test_what_is_wrong_is_one_line_that_names_the_folder(
    kind, folder, opened, tmp_path, asked, damage
):
    path, says = damages.damaged(folder, tmp_path / "copy", damages.MODEL[damage])
    if kind == "own" and damage in ("no type", "code of its own"):
        opened(path)  # the class is known, so neither its type nor its code is looked for
    else:
        with pytest.raises((CheckpointError, FileNotFoundError)) as caught:
            opened(path)
        damages.require_one_line(caught, path, says)
    assert asked == []
    assert not (path / "ran").exists()


def test_no_folder_is_no_name_to_look_for(opened, tmp_path, monkeypatch):
    """Nothing asks a network for an address."""
    looked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *address, **_: looked.append(address))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"in somebody/else: config\.json is missing"):
        opened("somebody/else")
    assert looked == []


def test_weights_in_parts_are_read(folder, opened):
    """All of one index, which names files of safetensors."""
    whole = opened(folder).state_dict()
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    names = load_file(folder / "part.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "part.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    parts = opened(folder).state_dict()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


@pytest.mark.parametrize("place", ["../part.safetensors", "below/part.safetensors"])
def test_weights_in_another_folder_are_refused(folder, opened, place):
    names = load_file(folder / "model.safetensors")
    (folder / "below").mkdir()
    (folder / "model.safetensors").rename(folder / place)
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, place)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"its weights are in {place}"):
        opened(folder)


@pytest.mark.parametrize("index", ["{half", "[]", "{}", '{"weight_map": {}}'])
def test_a_damaged_index_is_named(folder, opened, index):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError) as caught:
        opened(folder)
    damages.require_one_line(caught, folder, "")


@pytest.mark.parametrize("kind", ["causal", "classifier"], indirect=True)
def test_a_file_does_not_choose_code_of_the_hub_for_attention(folder, opened):
    """transformers takes a name with a slash for a kernel, and fetches it."""
    plain = opened(folder).config._attn_implementation
    damages._edited("config.json", attn_implementation="kernels-community/other")(folder)
    assert plain == opened(folder).config._attn_implementation == "sdpa"
    damages._edited("config.json", attn_implementation="eager")(folder)
    assert opened(folder).config._attn_implementation == "eager"


def test_a_pooler_that_is_not_there_is_not_missed(tmp_path):
    BertModel(BERT, add_pooling_layer=False).save_pretrained(tmp_path)
    assert open_trunk(tmp_path).pooler is None


def test_a_trunk_with_two_halves_is_refused(tmp_path):
    config = T5Config(vocab_size=50, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    T5Model(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="an encoder with a decoder"):
        open_trunk(tmp_path)


def test_another_kind_of_model_is_refused_in_one_line(tmp_path):
    BertModel(BERT).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks \d+ weights, cls\.predictions"):
        open_causal_model(tmp_path, dtype=torch.float32)
    T5Model(
        T5Config(vocab_size=50, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    ).save_pretrained(tmp_path / "t5")
    with pytest.raises(CheckpointError, match=r"cannot read a language model in .*T5Config") as e:
        open_causal_model(tmp_path / "t5", dtype=torch.float32)
    damages.require_one_line(e, tmp_path / "t5", "")


def test_a_configuration_can_be_changed_before_the_model_is_made(tmp_path):
    GPT2LMHeadModel(GPT2Config(**{**GPT2.to_dict(), "resid_pdrop": 0.5})).save_pretrained(tmp_path)
    config = without_dropout(open_config(tmp_path))
    model = open_causal_model(tmp_path, config=config, dtype=torch.bfloat16, attention="eager")
    assert model.config.resid_pdrop == 0.0
    assert model.config._attn_implementation == "eager"
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_code_is_run_where_the_caller_says_so_and_its_errors_are_its_own(tmp_path, monkeypatch):
    GPT2LMHeadModel(GPT2).save_pretrained(tmp_path)
    damages.MODEL["code of its own"][0](tmp_path)
    (tmp_path / "own.py").write_text("raise RuntimeError('it was run')\n")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    for opened in (open_config, open_classifier):
        with pytest.raises(RuntimeError, match="it was run"):
            opened(tmp_path, trust_remote_code=True)
    with pytest.raises(RuntimeError, match="it was run"):
        open_causal_model(tmp_path, dtype=torch.float32, trust_remote_code=True)


def test_a_fresh_trunk_takes_the_weights_of_an_opened_one(tmp_path):
    BertModel(BERT).save_pretrained(tmp_path)
    opened = open_trunk(tmp_path).eval()
    fresh = make_trunk(opened.config.to_dict()).eval()
    assert not torch.equal(opened(IDS).last_hidden_state, fresh(IDS).last_hidden_state)
    fresh.load_state_dict(opened.state_dict())
    assert torch.equal(opened(IDS).last_hidden_state, fresh(IDS).last_hidden_state)


def test_a_fresh_trunk_asks_for_no_code(asked):
    """What ``config.json`` of a reward says of its trunk is somebody's as well."""
    code = {"auto_map": {"AutoModel": "somebody/else--own.Own"}}
    with pytest.raises(ValueError, match="Unrecognized model identifier: own"):
        make_trunk({"model_type": "own", **code})
    # transformers knows the configuration, and has no trunk of its own for it.
    with pytest.raises(ValueError, match="custom code"):
        make_trunk({"model_type": "blip_text_model", **code})
    assert asked == []


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (GPT2Config, ("resid_pdrop", "embd_pdrop", "attn_pdrop")),
        (LlamaConfig, ("attention_dropout",)),
        (OPTConfig, ("dropout", "attention_dropout", "layerdrop")),
        (BertConfig, ("hidden_dropout_prob", "attention_probs_dropout_prob")),
    ],
)
def test_every_kind_of_dropout_is_turned_off(config, names):
    made = config(**dict.fromkeys(names, 0.5))
    assert without_dropout(made) is made
    assert [0.0] * len(names) == [getattr(made, name) for name in names]


def test_room_is_as_many_tokens_as_there_are_positions():
    assert room(GPT2LMHeadModel(GPT2)) == 16
    # RoBERTa counts from behind its padding id.
    shape = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    roberta = RobertaConfig(
        max_position_embeddings=16, intermediate_size=8, pad_token_id=1, **shape
    )
    assert room(RobertaModel(roberta)) == 14
    bloom = BloomConfig(vocab_size=9, hidden_size=8, n_layer=1, n_head=2)
    assert room(BloomModel(bloom)) is None  # its positions are slopes


def test_a_copy_is_whole_before_it_is_damaged(folder, opened, tmp_path):
    """Or the test above would pass for another reason."""
    shutil.copytree(folder, tmp_path / "copy")
    opened(tmp_path / "copy")
