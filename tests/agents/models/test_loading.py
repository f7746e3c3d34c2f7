"""One line makes a model and its tokenizer, and one line says why it does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    GenerationConfig,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    dynamic_module_utils,
)

from agents.maths.distributions import Sampling
from agents.models.loading import keep_lowest_layers, load_model, save_model
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.rollouts.collect import collect
from tests import damages
from tests.agents.toys import make_model, make_toy
from textgym.pretrained.adapters import (
    AdapterConfig,
    adapters_off,
    add_adapters,
    has_adapters,
    merge_adapters,
    save_adapters,
)
from textgym.tokenizers import load_tokenizer, train_tokenizer

END = "<|endoftext|>"
TEXTS = [f"the {word} film was {word} and {word}" for word in ("good", "bad", "dull", "fine")]
LETTERS = load_tokenizer("characters:abcdefgh")
LINE = "scratch:{}?layers=2&width=32&positions=64&seed=1"


def _byte_level(**special):
    from tokenizers import ByteLevelBPETokenizer

    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(TEXTS, vocab_size=290, special_tokens=[END])
    return PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, **special)


def _save(folder, model, tokenizer=None):
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
    return folder


def _logits(model, tokens=8):
    ids = torch.arange(3 * tokens).reshape(3, tokens) % 11
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_a_model_is_saved_with_its_tokenizer_and_loaded_by_its_folder(kind, tmp_path):
    words = train_tokenizer(TEXTS, vocab_size=280)
    model, _ = load_model(LINE.format(kind), words)
    save_model(model, tmp_path, words)
    loaded, tokenizer = load_model(tmp_path)
    assert torch.equal(_logits(model), _logits(loaded))
    assert type(model) is type(loaded)
    assert words.model == tokenizer.model
    assert not loaded.training
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_a_hub_like_folder_without_padding_acts_in_an_environment_with_its_own_tokenizer(
    kind, tmp_path
):
    """As GPT-2 comes: as many rows as ids, no padding, one id that begins and ends."""
    tokenizer = _byte_level(eos_token=END)
    _save(tmp_path, make_model(kind, vocabulary=len(tokenizer)), tokenizer)
    envs = make_toy("Bandit", rows=4, tokenizer=str(tmp_path))
    width = envs.prompt_tokens + envs.completion_tokens
    model, own = load_model(str(tmp_path), envs.tokenizer, width=width)
    assert own is envs.tokenizer
    policy = TransformerPolicy(model)
    assert policy.vocab_size == len(tokenizer) + 1 == envs.tokenizer.vocab_size
    rollout = collect(envs, policy, sampling=Sampling(), generator=torch.Generator().manual_seed(0))
    assert not (rollout.actions == own.pad_id).any()
    with torch.no_grad():
        full = policy.evaluate(rollout)
    mask = rollout.mask
    torch.testing.assert_close(full.log_probs[mask], rollout.log_probs[mask], atol=1e-5, rtol=1e-4)


def test_a_vocabulary_that_was_filled_up_is_cut_to_the_model_s_own_tokenizer(tmp_path):
    tokenizer = _byte_level(eos_token=END, pad_token=END)
    saved = make_model("qwen2", vocabulary=320).eval()
    _save(tmp_path, saved, tokenizer)
    model, own = load_model(tmp_path)
    size = len(tokenizer) + 1  # a pad that is the end of text is none
    assert own.vocab_size == model.config.vocab_size == size
    torch.testing.assert_close(_logits(saved)[..., : size - 1], _logits(model)[..., : size - 1])
    # Saved again, all fits without repair.
    save_model(model, tmp_path / "again", own)
    again, same = load_model(tmp_path / "again")
    assert same.vocab_size == size
    assert torch.equal(_logits(model), _logits(again))


def test_dropout_is_off_also_in_training_mode(tmp_path):
    saved = _save(tmp_path, make_model("gpt2", dropout=0.5))
    model, _ = load_model(saved, LETTERS)
    model.train()
    assert torch.equal(_logits(model), _logits(model))
    # The same without load_model: the test would see dropout.
    noisy = make_model("gpt2", dropout=0.5).train()
    assert not torch.equal(_logits(noisy), _logits(noisy))


def test_the_end_of_text_s_embedding_learns_though_the_saved_model_pads_with_it(tmp_path):
    """An embedding gives its padding id no gradient."""
    saved = make_model("llama")
    saved.config.pad_token_id = 2
    model, _ = load_model(_save(tmp_path, saved), LETTERS)
    ids = torch.tensor([[1, 5, 2, 4]])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    logits[0, 3, 7].backward()
    assert model.get_input_embeddings().weight.grad[2].abs().sum() > 0


@pytest.mark.parametrize(
    ("dtype", "expected"), [("bfloat16", torch.bfloat16), (torch.float64,) * 2]
)
def test_the_dtype_is_what_was_asked_for(dtype, expected, tmp_path):
    _save(tmp_path, make_model("llama"))
    for spec in (tmp_path, LINE.format("llama")):
        model, _ = load_model(spec, LETTERS, dtype=dtype)
        assert {p.dtype for p in model.parameters()} == {expected}
        # In bfloat16 the 60th position would stand where the 59.9th does.
        frequencies = make_model("llama").model.rotary_emb.inv_freq
        assert torch.equal(frequencies, model.model.rotary_emb.inv_freq)


@pytest.mark.parametrize("spec", ["scratch", "folder"])
def test_adapters_are_saved_with_the_name_of_their_base(spec, tmp_path, monkeypatch):
    """Also where the base was named by a path relative to another working folder."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    line = LINE.format("llama")
    if spec == "folder":
        save_model(load_model(line, LETTERS)[0], tmp_path / "base")
        monkeypatch.chdir(tmp_path)
        line = "base"
    model, _ = load_model(line, LETTERS, lora=AdapterConfig(rank=4))
    base = _logits(load_model(line, LETTERS)[0])
    assert torch.equal(base, _logits(model))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    save_model(model, tmp_path / "adapters")
    monkeypatch.chdir("/")
    loaded, _ = load_model(tmp_path / "adapters", LETTERS)
    assert has_adapters(loaded)
    assert torch.equal(_logits(model), _logits(loaded))
    with adapters_off(loaded):
        assert torch.equal(base, _logits(loaded))
    save_model(merge_adapters(loaded), tmp_path / "export")
    exported, _ = load_model(tmp_path / "export", LETTERS)
    assert not has_adapters(exported)
    torch.testing.assert_close(_logits(model), _logits(exported), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="has adapters already: leave lora out, or load "):
        load_model(tmp_path / "adapters", LETTERS, lora=AdapterConfig())


def test_a_policy_with_adapters_learns_by_ppo_resumes_and_leaves_its_base(tmp_path):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    envs = make_toy("Alphabet", rows=32)
    line = LINE.format("gpt2")
    policy, plain = (
        TransformerPolicy(load_model(line, envs.tokenizer, lora=lora)[0])
        for lora in (AdapterConfig(rank=4), None)
    )
    base = {n: p.detach().clone() for n, p in policy.named_parameters() if not p.requires_grad}
    ppo = PPO(policy, envs, PPOConfig(iterations=3, minibatches=2, learning_rate=1e-2))
    assert ppo.reference is None  # it is what the adapters are put on
    kl = [ppo.step()[0]["kl"] for _ in range(2)]
    ppo.save(tmp_path / "checkpoint")
    resumed = PPO.load(tmp_path / "checkpoint", envs)
    assert has_adapters(resumed.policy.model)
    assert kl[0] == pytest.approx(0.0, abs=1e-5)
    assert kl[1] > 1e-4
    after = dict(policy.named_parameters())
    assert base
    assert all(torch.equal(value, after[name]) for name, value in base.items())
    ids = torch.tensor([[1, 4, 5]])
    with adapters_off(policy), torch.no_grad():
        assert torch.equal(plain.trunk.full(ids), policy.trunk.full(ids))
    expected, actual = (each.policy.state_dict() for each in (ppo, resumed))
    assert all(torch.equal(value, actual[name]) for name, value in expected.items())
    assert [p.requires_grad for p in resumed.policy.parameters()] == [
        p.requires_grad for p in policy.parameters()
    ]
    assert ppo.step()[0]["kl"] == resumed.step()[0]["kl"]


def test_a_policy_s_adapters_are_switched_off_through_the_policy():
    pytest.importorskip("peft", reason="the extra lora is not installed")
    model, _ = load_model(LINE.format("llama"), LETTERS, lora=AdapterConfig(rank=4))
    base = _logits(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    policy = TransformerPolicy(model)
    assert not torch.equal(base, _logits(policy.model))
    with adapters_off(policy):
        hidden = policy.trunk.full(torch.arange(24).reshape(3, 8) % 11)
    torch.testing.assert_close(base, policy.model.get_output_embeddings()(hidden))


@pytest.mark.parametrize("given", [False, True])
def test_a_learner_of_bfloat16_weights_is_loaded_with_bfloat16_weights(given, tmp_path):
    """As float32 it would go on with other numbers than it had; heads and adapters are float32."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    envs = make_toy()
    TransformerPolicy(make_model("llama")).save_pretrained(tmp_path / "base", envs.tokenizer)

    def loaded(lora=None):
        return TransformerPolicy(load_model(tmp_path / "base", dtype="bfloat16", lora=lora)[0])

    config = PPOConfig(iterations=4, minibatches=2, bf16=True, learning_rate=1e-2)
    ppo = PPO(loaded(AdapterConfig(rank=2)), envs, config, reference=loaded() if given else None)
    assert ppo.policy.value_head.weight.dtype == torch.float32
    ppo.step()
    ppo.save(tmp_path / "checkpoint")
    again = PPO.load(tmp_path / "checkpoint", make_toy())
    for name, parameter in ppo.policy.named_parameters():
        assert again.policy.get_parameter(name).dtype == parameter.dtype, name
    expected, actual = ppo.step()[0], again.step()[0]
    for name in ("reward", "kl", "value_loss", "gradient_norm"):
        assert expected[name] == actual[name], name


@pytest.mark.parametrize("base", ["folder", "scratch:llama?layers=1&width=16"])
@pytest.mark.parametrize("both", [False, True])
def test_a_critic_with_adapters_is_resumed(both, base, tmp_path):
    """Of a policy with them or without, whose reference is then a copy of policy and critic."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    envs, config = make_toy(), PPOConfig(iterations=6, learning_rate=1e-2, minibatches=1)
    if base == "folder":
        base = tmp_path / "base"
        TransformerPolicy(make_model()).save_pretrained(base, envs.tokenizer)
    models = [
        load_model(base, envs.tokenizer, lora=AdapterConfig(rank=2, seed=seed) if lora else None)[0]
        for seed, lora in ((0, both), (1, True))
    ]
    ppo = PPO(TransformerPolicy(*models), envs, config)
    for _ in range(2):
        ppo.step()
    ppo.save(tmp_path / "checkpoint")
    again = PPO.load(tmp_path / "checkpoint", make_toy())
    for _ in range(2):
        expected, actual = ppo.step()[0], again.step()[0]
        for name in ("reward", "kl", "value_loss", "gradient_norm"):
            assert expected[name] == actual[name], name
    frozen = {name for name, p in again.policy.critic.named_parameters() if not p.requires_grad}
    assert frozen


def test_without_peft_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModuleNotFoundError, match=r'run: pip install "peft>=0\.20"'):
        load_model(LINE.format("gpt2"), LETTERS, lora=AdapterConfig())


@pytest.mark.parametrize(
    ("spec", "keywords", "error", "message"),
    [
        ("no/such/folder", {}, FileNotFoundError, r"no language model in no/such/folder.*hub:NAME"),
        ("owner/name", {}, FileNotFoundError, "too; the hub's is hub:owner/name$"),
        ("gpt2", {}, FileNotFoundError, "smollm2, scratch:gpt2 and hub:NAME are models"),
        (LINE.format("gpt2"), {}, ValueError, "has no tokenizer of its own: give one"),
        ("scratch:bert", {"tokenizer": LETTERS}, ValueError, "unknown kind 'bert'"),
        (
            LINE.format("gpt2"),
            {"tokenizer": LETTERS, "width": 65},
            ValueError,
            "texts have 65 tokens and the model scratch:gpt2.* reads 64",
        ),
        (
            LINE.format("gpt2"),
            {"tokenizer": LETTERS, "dtype": "int8"},
            ValueError,
            "dtype is 'int8'",
        ),
        (LINE.format("gpt2"), {"tokenizer": "characters:aa"}, ValueError, "different characters"),
    ],
)
def test_what_cannot_be_made_says_why_in_one_line(spec, keywords, error, message):
    with pytest.raises(error, match=message) as caught:
        load_model(spec, **keywords)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_out_of_reach_says_so_in_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for load in (load_model, load_tokenizer):
        with pytest.raises(
            OSError, match=r"cannot load 'hub:nobody/nothing' from its cache \(HF_HUB_OFFLINE"
        ) as e:
            load("hub:nobody/nothing")
        assert "\n" not in str(e.value)


@pytest.mark.slow
def test_what_is_in_transformers_own_cache_is_loaded_by_its_name(tmp_path):
    """Without a network, in a process of its own because the cache's place is read on import."""
    tokenizer = _byte_level(eos_token=END)
    folder = tmp_path / "hub" / "models--owner--name"
    saved = make_model("gpt2", vocabulary=len(tokenizer))
    _save(folder / "snapshots" / "0123", saved, tokenizer)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    code = (
        "from agents.models.loading import load_model\n"
        "from textgym.tokenizers import load_tokenizer\n"
        "own = load_tokenizer('hub:owner/name')\n"
        "model, tokenizer = load_model('hub:owner/name', own)\n"
        "print(type(model).__name__, model.config.vocab_size, tokenizer.decode([*range(40, 45)]))\n"
    )
    root = Path(__file__).parents[3]
    places = {"HF_HOME": str(tmp_path), "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"}
    kept = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_CACHE", "HF_HUB_OFFLINE")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=kept | places,
    )
    assert result.returncode == 0, result.stderr
    expected = tokenizer.decode([*range(40, 45)])
    assert f"GPT2LMHeadModel {len(tokenizer) + 1} {expected}\n" == result.stdout


def test_a_model_without_a_tokenizer_asks_for_one(tmp_path):
    _save(tmp_path, make_model())
    with pytest.raises(ValueError, match=r"there is no tokenizer in .*: give the one that it was"):
        load_model(tmp_path)


def test_a_tokenizer_without_an_end_is_refused_unless_another_is_given(tmp_path):
    _save(tmp_path, make_model(), _byte_level())
    with pytest.raises(ValueError, match="no end-of-text token"):
        load_model(tmp_path)
    assert load_model(tmp_path, LETTERS)[1] is LETTERS


@pytest.mark.parametrize("tokenizer", [LETTERS, "reviews-4096"])
def test_a_tokenizer_of_another_model_is_refused(tokenizer, tmp_path):
    own = _byte_level(eos_token=END)
    _save(tmp_path, make_model(vocabulary=len(own)), own)
    with pytest.raises(ValueError, match="is not the one that came with the model"):
        load_model(tmp_path, tokenizer)


def test_what_is_no_decoder_is_refused(tmp_path):
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 11}
    bert = BertConfig(hidden_size=8, intermediate_size=8, **small)
    _save(tmp_path / "bert", BertLMHeadModel(bert))
    with pytest.raises(ValueError, match="reads ahead"):
        load_model(tmp_path / "bert", LETTERS)
    t5 = T5Config(vocab_size=11, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    _save(tmp_path / "t5", T5ForConditionalGeneration(t5))
    with pytest.raises(ValueError, match=r"cannot read a language model in .*T5Config") as caught:
        load_model(tmp_path / "t5", LETTERS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "load", [lambda f: load_model(f, LETTERS), TransformerPolicy.from_pretrained]
)
@pytest.mark.parametrize("damage", [name for name in damages.MODEL if "adapters" not in name])
def test_what_is_wrong_with_a_folder_is_one_line_that_names_it(load, damage, tmp_path, monkeypatch):
    """A pickle may run code, and so may what lies beside the weights; nobody is asked about it."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    whole = _save(tmp_path / "whole", make_model())
    folder, says = damages.damaged(whole, tmp_path / "copy", damages.MODEL[damage])
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load(folder)
    damages.require_one_line(caught, folder, says)
    assert asked == []


def test_adapters_of_a_base_in_the_hub_s_cache_find_it_there(tmp_path, monkeypatch):
    """peft writes the base's name as the hub knows it; no network is asked."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    asked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *address, **_: asked.append(address))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--somebody--base"
    base = make_model()
    _save(kept / "snapshots" / "abc", base)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    adapted = make_model()
    add_adapters(adapted, AdapterConfig(rank=2), base="somebody/base")
    save_adapters(adapted, tmp_path / "adapters")
    model, _ = load_model(tmp_path / "adapters", LETTERS)
    assert has_adapters(model)
    torch.testing.assert_close(_logits(adapted.eval()), _logits(model))
    add_adapters(other := make_model(), AdapterConfig(rank=2), base="somebody/nothing")
    save_adapters(other, tmp_path / "lost")
    with pytest.raises(FileNotFoundError, match="somebody/nothing is no folder, and there is no"):
        load_model(tmp_path / "lost", LETTERS)
    assert asked == []


def test_code_that_comes_with_a_model_is_run_only_when_asked(tmp_path, monkeypatch):
    _save(tmp_path, make_model())
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    path.write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise RuntimeError('it was run')\n")
    with pytest.raises(ValueError, match="contains custom code"):
        load_model(tmp_path, LETTERS)
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(RuntimeError, match="it was run"):
        load_model(tmp_path, LETTERS, trust_remote_code=True)


MANNER = {"dtype": "bfloat16", "attention": "sdpa"}


def _manner(policy):
    """What the models of a policy are and how they attend, and the adapters' own dtype."""
    found = set()
    for model in filter(None, (policy.model, policy.critic)):
        base = {p.dtype for name, p in model.named_parameters() if "lora_" not in name}
        found |= {(*base, model.config._attn_implementation)}
    return found


@pytest.mark.parametrize("kind", ["whole", "adapters", "critic"])
def test_a_folder_keeps_dtype_and_attention(kind, tmp_path):
    """Both were forgotten: what was loaded with sdpa came back eager, another numeric run."""
    spec = "scratch:llama?layers=1&width=16&heads=2"
    if kind == "adapters":
        pytest.importorskip("peft", reason="the extra lora is not installed")
    lora = AdapterConfig(rank=2) if kind == "adapters" else None
    model, _ = load_model(spec, LETTERS, lora=lora, **MANNER)
    critic = load_model(spec, LETTERS, **MANNER)[0] if kind == "critic" else None
    TransformerPolicy(model, critic).save_pretrained(tmp_path, LETTERS)
    expected = {(torch.bfloat16, "sdpa")}
    assert _manner(TransformerPolicy(load_model(tmp_path, LETTERS)[0])) == expected
    assert _manner(TransformerPolicy.from_pretrained(tmp_path, tokenizer=LETTERS)) == expected
    given = {"dtype": "float32", "attention": "eager"}
    for policy in (
        TransformerPolicy(load_model(tmp_path, LETTERS, **given)[0]),
        TransformerPolicy.from_pretrained(tmp_path, tokenizer=LETTERS, **given),
    ):
        assert _manner(policy) == {(torch.float32, "eager")}


def test_a_resumed_learner_attends_as_it_did(tmp_path):
    envs = make_toy()
    model, _ = load_model(
        "scratch:gpt2?layers=1&width=16&heads=2", envs.tokenizer, attention="sdpa"
    )
    ppo = PPO(TransformerPolicy(model), envs, PPOConfig(iterations=4))
    ppo.step()
    ppo.save(tmp_path / "checkpoint")
    again = PPO.load(tmp_path / "checkpoint", make_toy())
    assert _manner(again.policy) == _manner(again.reference) == {(torch.float32, "sdpa")}
    expected, actual = ppo.step()[0], again.step()[0]
    assert expected["policy_loss"] == actual["policy_loss"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read .*loading.json"),
        ("[]", "cannot read .*loading.json"),
        ('{"attention": "owner/code"}', "torch does not compute by itself: give attention="),
        ('{"dtype": "int8"}', "dtype is 'int8'"),
    ],
)
def test_how_a_model_was_loaded_may_be_damaged_and_runs_no_code_of_the_hub(
    content, message, tmp_path
):
    """A name with a slash is code that transformers fetches and runs."""
    TransformerPolicy(make_model()).save_pretrained(tmp_path, LETTERS)
    (tmp_path / "loading.json").write_text(content)
    for load in (load_model, TransformerPolicy.from_pretrained):
        with pytest.raises(ValueError, match=message):
            load(tmp_path)


def test_an_attention_that_lacks_its_package_is_named():
    """Asked for, such a name is looked up; nothing here has the package."""
    for name in ("owner/code", "fast"):
        with pytest.raises(ValueError, match=name):
            load_model("scratch:gpt2?layers=1&width=16&heads=2", LETTERS, attention=name)


def test_what_transformers_makes_of_a_saved_folder_writes_as_was_trained(tmp_path):
    """The makers' ends of text are not the tokenizer's, and their settings draw otherwise."""
    tokenizer = _byte_level(eos_token=END)
    tokenizer.pad_token = "<pad>"  # noqa: S105 - no password
    saved = make_model("llama", vocabulary=len(tokenizer))
    makers = GenerationConfig(eos_token_id=[5, 7], do_sample=True, top_k=2, repetition_penalty=1.3)
    saved.generation_config = makers
    _save(tmp_path / "theirs", saved, tokenizer)
    model, own = load_model(tmp_path / "theirs")
    save_model(model, tmp_path / "ours", own)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    torch.testing.assert_close(_logits(model), _logits(again), atol=1e-5, rtol=0)
    assert (again.config.eos_token_id, again.config.bos_token_id) == (own.eos_id, own.bos_id)
    settings = again.generation_config
    assert (settings.eos_token_id, settings.pad_token_id) == (own.eos_id, own.pad_id)
    torch.manual_seed(0)
    prompt = torch.tensor([[own.bos_id]]).expand(4000, -1)
    given = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 1}
    drawn = again.generate(prompt, **given)[:, -1].bincount(minlength=own.vocab_size) / 4000
    with torch.no_grad():
        expected = model(input_ids=prompt[:1]).logits[0, -1].softmax(-1)
    assert (drawn - expected).abs().sum() < 0.5  # with top-k of 2 it is almost 2
    torch.testing.assert_close(drawn.max(), expected.max(), atol=0.03, rtol=0)


def test_a_weight_that_transformers_draws_anew_is_refused(tmp_path, monkeypatch):
    """It does so with the tied embedding of a family, and reports that all is there."""
    _save(tmp_path, make_model("llama"))
    kind = type(make_model("llama"))
    opened = kind.from_pretrained.__func__

    def redrawn(cls, *given, **options):
        model, loading = opened(cls, *given, **options)
        torch.nn.init.normal_(model.get_input_embeddings().weight)
        return model, loading

    monkeypatch.setattr(kind, "from_pretrained", classmethod(redrawn))
    with pytest.raises(ValueError, match=r"does not load 1 weights as they are .*embed_tokens"):
        load_model(tmp_path, LETTERS)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_the_lowest_layers_are_those_of_the_whole_model(kind, tmp_path):
    """What they give is the whole model's hidden states there, under its last norm."""
    line = LINE.format(kind).replace("layers=2", "layers=3")
    (whole, _), (lower, _) = load_model(line, LETTERS), load_model(line, LETTERS)
    assert keep_lowest_layers(lower, None) is lower
    assert keep_lowest_layers(lower, 2) is lower
    ids = torch.arange(24).reshape(4, 6) % 11
    policy = TransformerPolicy(whole, lower)
    torch.nn.init.normal_(policy.value_head.weight)
    with torch.no_grad():
        states = whole.base_model(ids, output_hidden_states=True).hidden_states[2]
        expected = (whole.transformer.ln_f if kind == "gpt2" else whole.model.norm)(states)
        values = policy.state_values(ids, torch.full((4,), 6))
        torch.testing.assert_close(lower.base_model(ids).last_hidden_state, expected)
        torch.testing.assert_close(values, policy.value_head(expected[:, -1])[:, 0])
    policy.save_pretrained(tmp_path / "policy", LETTERS)
    again = TransformerPolicy.from_pretrained(tmp_path / "policy")
    assert again.critic.config.num_hidden_layers == 2
    for name, value in policy.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    fresh = TransformerPolicy.from_pretrained(
        tmp_path / "policy", critic=tmp_path / "policy", critic_layers=1
    )
    assert fresh.critic.config.num_hidden_layers == 1
    for layers in (0, 3):
        with pytest.raises(
            ValueError, match=f"cannot keep the lowest {layers} blocks of a model that has 2"
        ):
            keep_lowest_layers(lower, layers)
