"""``textgym export`` makes of a policy in parts, or with adapters, what transformers opens."""

from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from tests.spread_files import cut_in_two
from textgym.cli.parsing import CommandError
from textgym.cli.policy.export import ExportConfig, export_policy
from textgym.pretrained.adapters import AdapterConfig
from textgym.pretrained.part_files import PARTS
from textgym.tokenizers import CharacterTokenizer, load_tokenizer

SMALL = "scratch:gpt2?layers=1&width=16&heads=2"
LETTERS = CharacterTokenizer("abcdefgh")


def _export(policy, out, capsys):
    export_policy(ExportConfig(policy=policy, out=out), Console(width=500))
    return capsys.readouterr().out


def test_parts_are_put_together_for_transformers(tmp_path, capsys):
    policy = TransformerPolicy(load_model(SMALL, LETTERS)[0], load_model(SMALL, LETTERS)[0])
    for weight in (policy.value_head.weight, policy.critic.transformer.wpe.weight):
        torch.nn.init.normal_(weight)
    policy.save_pretrained(tmp_path / "policy", LETTERS)
    for place in (tmp_path / "policy", tmp_path / "policy" / "critic"):
        cut_in_two(place / "model.safetensors", place / PARTS)
    said = _export(tmp_path / "policy", tmp_path / "out", capsys)
    numbers = sum(p.numel() for p in policy.model.parameters())
    assert said == f"{numbers:,} weights in {tmp_path / 'out'}\n"
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    for name, value in policy.model.state_dict().items():
        assert torch.equal(value, opened[name]), name
    again = TransformerPolicy.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in policy.state_dict().items())
    assert load_tokenizer(tmp_path / "out").alphabet == LETTERS.alphabet
    assert not [*(tmp_path / "out").rglob(PARTS)]


def test_adapters_are_added_to_their_base(tmp_path, capsys):
    model, _ = load_model(SMALL, LETTERS, lora=AdapterConfig(rank=2))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    TransformerPolicy(model).save_pretrained(tmp_path / "policy", LETTERS)
    said = _export(tmp_path / "policy", tmp_path / "out", capsys)
    assert said.endswith("adapters added to their base\n")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor([[1, 3, 4, 5]])
    torch.testing.assert_close(opened(ids).logits, model(ids).logits, atol=1e-5, rtol=0)


def test_what_is_no_policy_or_would_be_replaced_is_one_line(tmp_path):
    for policy, out, says in (
        (tmp_path / "none", tmp_path / "out", "no language model in .*none"),
        (tmp_path, tmp_path, "is there: name another folder"),
    ):
        with pytest.raises(CommandError, match=says):
            export_policy(ExportConfig(policy=policy, out=out), SimpleNamespace())
