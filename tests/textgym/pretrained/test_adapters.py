"""Adapters change nothing until they are trained, and nothing of the base ever."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests import damages
from tests.agents.toys import VOCABULARY, make_model
from textgym.pretrained.adapters import (
    AdapterConfig,
    adapters_off,
    add_adapters,
    base_of,
    has_adapters,
    load_adapters,
    merge_adapters,
    save_adapters,
)

peft = pytest.importorskip("peft", reason="the extra lora is not installed")

KINDS = ["gpt2", "llama", "qwen2", "qwen3"]
IDS = torch.arange(24).reshape(3, 8) % VOCABULARY


def _logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits


def _adapted(kind="gpt2", **config):
    """A model with adapters, and the logits of its base."""
    model = make_model(kind).eval()
    logits = _logits(model)
    add_adapters(model, AdapterConfig(**{"rank": 4, **config}), base="here")
    return model, logits


def _train(model, steps=3):
    """A few steps of Adam on the next token, with what asks for a gradient."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    for _ in range(steps):
        logits = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_adapters_change_nothing(kind):
    model, base = _adapted(kind)
    assert torch.equal(base, _logits(model))
    assert has_adapters(model)


@pytest.mark.parametrize("kind", KINDS)
def test_training_moves_the_adapters_and_leaves_the_base(kind):
    model, base = _adapted(kind)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" not in n}
    before = {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" in n}
    _train(model)
    after = dict(model.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())
    assert not any(torch.equal(value, after[name]) for name, value in before.items())
    assert (_logits(model) - base).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_adapters_a_trained_model_is_its_base_again(kind):
    """The reference policy needs no second copy."""
    model, base = _adapted(kind)
    trained = _logits(_train(model))
    with adapters_off(model):
        assert torch.equal(base, _logits(model))
    assert torch.equal(trained, _logits(model))


def test_switching_off_nests_survives_errors_and_leaves_what_learns():
    model, base = _adapted()
    trained = _logits(_train(model))
    first = next(p for n, p in model.named_parameters() if "lora_A" in n)
    first.requires_grad_(False)
    learning = [p.requires_grad for p in model.parameters()]
    with adapters_off(model):
        with adapters_off(model):
            pass
        assert torch.equal(base, _logits(model))
    with pytest.raises(KeyError), adapters_off(model):
        raise KeyError
    assert torch.equal(trained, _logits(model))
    assert learning == [p.requires_grad for p in model.parameters()]


def test_a_model_without_adapters_is_left_alone():
    model = make_model()
    with adapters_off(model):
        assert all(p.requires_grad for p in model.parameters())
    assert not has_adapters(model)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_merged_computes_the_same_without_adapters(kind, tmp_path):
    model, base = _adapted(kind)
    expected = _logits(_train(model))
    merge_adapters(model).save_pretrained(tmp_path)
    names = {n for n, _ in make_model(kind).named_parameters()}
    assert set(load_file(tmp_path / "model.safetensors")) == names
    exported = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    torch.testing.assert_close(expected, _logits(exported), atol=1e-5, rtol=0)
    assert not has_adapters(exported)
    # The model goes on as it was, and so does its base.
    assert torch.equal(expected, _logits(model))
    with adapters_off(model):
        assert torch.equal(base, _logits(model))


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_saved_without_their_base_and_loaded_onto_it(kind, tmp_path):
    model, _ = _adapted(kind)
    expected = _logits(_train(model))
    save_adapters(model, tmp_path)
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
    assert base_of(tmp_path) == "here"
    loaded = make_model(kind).eval()
    load_adapters(loaded, tmp_path)
    assert torch.equal(expected, _logits(loaded))
    learns = {name for name, p in loaded.named_parameters() if p.requires_grad}
    assert learns == {name for name, p in model.named_parameters() if p.requires_grad}


def test_damaged_adapters_are_named(tmp_path):
    model, _ = _adapted()
    save_adapters(model, tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"cannot read .*adapter_model\.safetensors"):
        load_adapters(make_model().eval(), tmp_path)
    (tmp_path / "adapter_config.json").write_text("{half")
    with pytest.raises(ValueError, match=r"the adapters' base in .*adapter_config\.json"):
        base_of(tmp_path)


@pytest.mark.parametrize(
    "settings", ["{}", "[]", '{"peft_type": "LORA", "r": "wide", "fan_in_fan_out": true}']
)
def test_damaged_settings_are_one_line_that_names_the_folder(settings, tmp_path):
    model, _ = _adapted()
    save_adapters(model, tmp_path)
    (tmp_path / "adapter_config.json").write_text(settings)
    with pytest.raises(ValueError, match=r"cannot read a set of adapters|not LoRA") as caught:
        load_adapters(make_model().eval(), tmp_path)
    damages.require_one_line(caught, tmp_path, "")
    with pytest.raises(ValueError, match=r"the adapters' base in .*adapter_config\.json"):
        base_of(tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_looked_for_nowhere_else(name, tmp_path, monkeypatch):
    """Neither on the hub nor in a pickle, which may run code."""
    looked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *address, **_: looked.append(address))
    model, _ = _adapted()
    save_adapters(model, tmp_path)
    (tmp_path / name).unlink()
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match=f"no set of adapters in .*: {name} is missing"):
        load_adapters(make_model().eval(), tmp_path)
    assert looked == []


# PeftModel asks transformers by a name that is going out of use; our own way does not.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_peft_reads_what_is_saved_and_what_peft_saves_is_read(kind, tmp_path):
    model, _ = _adapted(kind)
    expected = _logits(_train(model))
    save_adapters(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(make_model(kind).eval(), str(tmp_path / "ours"))
    torch.testing.assert_close(expected, _logits(theirs))
    theirs.save_pretrained(str(tmp_path / "theirs"), save_embedding_layers=False)
    ours = make_model(kind).eval()
    load_adapters(ours, tmp_path / "theirs")
    assert torch.equal(expected, _logits(ours))


def test_the_adapters_of_a_bfloat16_model_are_float32_and_learn():
    model = make_model("llama").bfloat16().eval()
    base = _logits(model)
    add_adapters(model, AdapterConfig(rank=2), base="here")
    assert {p.dtype for n, p in model.named_parameters() if "lora_" in n} == {torch.float32}
    assert torch.equal(base, _logits(model))
    assert not torch.equal(base, _logits(_train(model)))


def test_the_seed_decides_the_first_weights_and_the_global_generator_is_left():
    made = [_adapted(seed=seed)[0] for seed in (1, 1, 2)]
    first = [next(p for n, p in m.named_parameters() if "lora_A" in n) for m in made]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    model, state = make_model(), torch.get_rng_state()
    add_adapters(model, AdapterConfig(), base="here")
    assert torch.equal(state, torch.get_rng_state())


def test_named_targets_alone_are_adapted():
    model, _ = _adapted("llama", targets=("q_proj", "v_proj"))
    names = [n.partition(".lora_")[0] for n, _ in model.named_parameters() if ".lora_" in n]
    assert {name.rpartition(".")[2] for name in names} == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"targets": ("no_such_layer",)}, "no_such_layer.*not found"),
        ({"targets": ("q_proj", "lm_head")}, "output layer are not supported"),
    ],
)
def test_settings_that_cannot_be_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        _adapted("llama", **config)


def test_a_model_takes_one_adapter():
    model, _ = _adapted()
    with pytest.raises(ValueError, match="has adapters already"):
        add_adapters(model, AdapterConfig(), base="here")


@pytest.mark.parametrize("harm", ["less", "more", "shape"])
def test_adapters_of_another_model_are_refused(harm, tmp_path):
    model, _ = _adapted("llama")
    save_adapters(model, tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    name = next(name for name in weights if "q_proj" in name)
    if harm == "less":
        del weights[name]
    elif harm == "more":
        weights[name.replace("q_proj", "r_proj")] = weights[name].clone()
    else:
        weights[name] = weights[name][..., :-1].clone()
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="do not fit the model"):
        load_adapters(make_model("llama"), tmp_path)
