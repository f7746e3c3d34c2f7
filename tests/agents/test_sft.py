"""Training a language model: what it learns from, and that a stop costs nothing but time."""

import dataclasses
import math

import pytest
import torch
from transformers import TrainerCallback

from agents.models.documents import (
    Document,
    collate,
    packed,
    perplexity,
    require_packable,
    text_documents,
)
from agents.sft import (
    SFTConfig,
    _decides,
    _optimizer,
    _trapezoid,
    fit_language_model,
    make_language_model,
    train_language_model,
)
from agents.training.distributed import Processes
from agents.training.optimizers import MuonWithAdamW
from tests.agents.toys import make_model
from tests.settings import variants
from textgym.tokenizers import CharacterTokenizer

TOKENIZER = CharacterTokenizer("abcdefgh")
CONFIG = SFTConfig(
    layers=1, width=16, heads=2, steps=12, batch_size=4, row_tokens=8, save_steps=4, bf16=False
)
TEXTS = ["abcd", "bcdefgh", "cde", "defgh", "efg", "fgh", "gh", "h", "abcdefgh", "bcd"]


class _StopAt(TrainerCallback):
    """Raises in the middle of training, as a kill does."""

    def __init__(self, step):
        self._step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self._step:
            raise KeyboardInterrupt


class _Count(TrainerCallback):
    """How many updates a call makes."""

    steps = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1


def _batch(*rows):
    return collate([[Document(row)] for row in rows], 0)


def _weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The weights of a run that nobody stops."""
    folder = tmp_path_factory.mktemp("straight") / "m"
    train_language_model(CONFIG, TOKENIZER, TEXTS, folder)
    return _weights(folder)


@pytest.mark.parametrize("step", [1, 4, 6, 11])
def test_a_stopped_run_ends_with_the_weights_of_an_unstopped_one(step, tmp_path, straight):
    """It goes on from the last checkpoint, of every fourth step, if there is one."""
    with pytest.raises(KeyboardInterrupt):
        train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "m", callbacks=[_StopAt(step)])
    assert not (tmp_path / "m").exists()
    assert len(list(tmp_path.glob("m.checkpoints/*/checkpoint-*"))) == (step - 1) // 4
    count = _Count()
    result = train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "m", callbacks=[count])
    assert result["steps"] == 12
    assert count.steps == 12 - (step - 1) // 4 * 4, "what was done is not done again"
    actual = _weights(tmp_path / "m")
    for name, value in straight.items():
        assert torch.equal(value, actual[name]), name


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path, straight):
    with pytest.raises(KeyboardInterrupt):
        train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "m", callbacks=[_StopAt(10)])
    (cut,) = tmp_path.glob("m.checkpoints/*/checkpoint-8/trainer_state.json")
    cut.write_text('{"ep')
    train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "m")
    for name, value in straight.items():
        assert torch.equal(value, _weights(tmp_path / "m")[name]), name


@pytest.mark.learning
def test_learns_a_language_that_can_be_learned(tmp_path):
    """After each letter comes the next: only the first letter and the end are uncertain."""
    config = dataclasses.replace(CONFIG, steps=150, batch_size=16, save_steps=1000, width=32)
    texts = ["abcdefg"[i:] for i in range(4)] * 8
    train_language_model(config, TOKENIZER, texts, tmp_path / "m")
    from agents.models.policy import TransformerPolicy

    model = TransformerPolicy.from_pretrained(tmp_path / "m").model
    # Of 5.5 letters and an end on average, one in 4 must be guessed: 4 ** (1 / 6.5) = 1.24.
    assert perplexity(model, TOKENIZER, texts, 8) < 1.35


def test_padding_is_not_learned_from():
    """A short row's loss is that of the row alone."""
    model = make_language_model(CONFIG, TOKENIZER)
    short, long = [1, 3, 4, 2], [1, 3, 4, 5, 6, 7, 2]
    losses = [float(model(**_batch(row)).loss.detach()) for row in (short, long)]
    both = float(model(**_batch(short, long)).loss.detach())
    assert both == pytest.approx((3 * losses[0] + 6 * losses[1]) / 9, rel=1e-5)


def test_perplexity_of_a_uniform_model_is_the_vocabulary():
    model = make_language_model(CONFIG, TOKENIZER)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    assert perplexity(model, TOKENIZER, TEXTS, 8) == pytest.approx(TOKENIZER.vocab_size, rel=1e-4)


def test_the_seed_decides_the_first_weights_and_no_global_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = (make_language_model(CONFIG, TOKENIZER) for _ in "ab")
    other = make_language_model(dataclasses.replace(CONFIG, seed=1), TOKENIZER)
    assert torch.equal(before, torch.get_rng_state())
    weights = [m.transformer.h[0].mlp.c_fc.weight for m in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_no_text_says_so(tmp_path):
    with pytest.raises(ValueError, match="no text to learn from"):
        train_language_model(CONFIG, TOKENIZER, ["", ""], tmp_path / "m")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_optimiser_takes_every_parameter_once_and_matrices_by_muon(kind):
    model = make_model(kind)
    optimizer = MuonWithAdamW(model, matrix_rate=0.1, rate=0.1, weight_decay=0.0, bf16=False)
    taken = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in taken}) == len(taken) == len(list(model.parameters()))
    by_muon = {id(p) for p in optimizer.muon.param_groups[0]["params"]}
    names = {n for n, p in model.named_parameters() if id(p) in by_muon}
    assert len(names) == (8 if kind == "gpt2" else 14)
    assert not any(part in name for name in names for part in ("wte", "wpe", "embed", "lm_head"))


def test_a_schedule_reaches_both_optimisers():
    """A wrapper that copies its groups would train at the first step size for ever."""
    model = make_model()
    optimizer = MuonWithAdamW(model, matrix_rate=0.2, rate=0.4, weight_decay=0.0, bf16=False)
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in model.parameters()]
    model(**_batch([1, 3, 4, 5])).loss.backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert math.isclose(optimizer.muon.param_groups[0]["lr"], 0.0)


REASONS = {
    "save_steps": "how much a kill loses",
    "logging_steps": "how much is reported",
    "bf16": "what it comes to decides, and not how it was asked for",
}


def test_each_setting_makes_another_run_or_has_a_reason_not_to():
    model = make_language_model(CONFIG, TOKENIZER)
    rows, other_rows = [[Document([1])]], [[Document([2])]]
    expected = _decides(CONFIG, rows, model, bf16=False, processes=Processes())
    others = variants(CONFIG, width=18, heads=4)
    for name, other in others.items():
        found = _decides(other, rows, model, bf16=False, processes=Processes())
        assert (found != expected) == (name not in REASONS), name
    assert _decides(CONFIG, rows, model, bf16=True, processes=Processes()) != expected
    assert _decides(CONFIG, other_rows, model, bf16=False, processes=Processes()) != expected
    two = Processes(count=2)
    assert _decides(CONFIG, rows, model, bf16=False, processes=two) != expected
    wide = make_language_model(dataclasses.replace(CONFIG, seed=1), TOKENIZER)
    assert _decides(CONFIG, rows, wide, bf16=False, processes=Processes()) != expected


def test_other_texts_are_not_gone_on_with_and_it_is_said(tmp_path, caplog):
    """The checkpoints of the former ones were once taken for the new ones'."""
    with pytest.raises(KeyboardInterrupt):
        train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "m", callbacks=[_StopAt(10)])
    train_language_model(CONFIG, TOKENIZER, TEXTS[::-1], tmp_path / "m")
    # transformers warns as well, where two checkpoints are written within a tick of the clock.
    said = [record.message for record in caplog.records if record.name == "agents.sft"]
    assert [line.partition(" of a run ")[2] for line in said] == [
        "with other data: this one begins anew"
    ]
    train_language_model(CONFIG, TOKENIZER, TEXTS[::-1], tmp_path / "straight")
    for name, value in _weights(tmp_path / "straight").items():
        assert torch.equal(value, _weights(tmp_path / "m")[name]), name


PROMPTED = [
    Document([1, 3, 4, 5, 6, 2], 3),
    Document([1, 7, 8, 2], 2),
    Document([1, 4, 3, 9, 2], 3),
]


def _fitted(tmp_path, name, config=CONFIG, documents=None, model=None, **given):
    model = make_language_model(config, TOKENIZER) if model is None else model
    documents = text_documents(TOKENIZER, TEXTS, 8) if documents is None else documents
    figures = fit_language_model(config, model, TOKENIZER, documents, tmp_path / name, **given)
    return model, figures


def _equal(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().values(), strict=True)
    return [name for (name, one), other in pairs if not torch.equal(one, other)] == []


class _Losses(TrainerCallback):
    def __init__(self):
        self.seen = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.seen += [value for name, value in logs.items() if name in ("loss", "eval_loss")]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_documents_say_what_each_says_alone(kind, attention):
    model = make_model(kind)
    model.set_attn_implementation(attention)
    model.eval()
    require_packable(model)
    documents = [Document([1, 3, 4, 5, 2]), Document([1, 6, 2]), Document([1, 5, 5, 3])]
    batch = collate([documents], 0)
    del batch["labels"]
    with torch.no_grad():
        row = model(**batch, use_cache=False).logits[0]
        at = 0
        for document in documents:
            alone = model(input_ids=torch.tensor([document.ids]), use_cache=False).logits[0]
            assert torch.allclose(row[at : at + len(document.ids)], alone, atol=1e-5)
            at += len(document.ids)


def test_a_model_that_mixes_packed_documents_is_refused():
    model = make_model("gpt2")
    forward = model.forward
    model.forward = lambda position_ids=None, **given: forward(**given)  # as if it took none
    with pytest.raises(ValueError, match="does not keep packed documents apart"):
        require_packable(model)


def test_packed_and_alone_have_one_loss_and_one_gradient():
    """Of each document the same tokens are learned, none of them from the document before."""
    model = make_language_model(CONFIG, TOKENIZER)
    gradients = []
    for rows in ([PROMPTED], [[document] for document in PROMPTED]):
        model.zero_grad()
        loss = model(**collate(rows, 0), use_cache=False).loss
        loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_prompt_is_no_target():
    """What a prompt's tokens are predicted as has no part in the loss."""
    model = make_language_model(CONFIG, TOKENIZER)
    batch = collate([[Document([1, 3, 4, 5, 6, 2], 3)]], 0)
    assert batch["labels"].tolist() == [[-100, -100, -100, 5, 6, 2]]
    logits = model(input_ids=batch["input_ids"]).logits
    logits.retain_grad()
    torch.nn.functional.cross_entropy(
        logits[0, :-1], batch["labels"][0, 1:], ignore_index=-100
    ).backward()
    touched = logits.grad[0].abs().sum(dim=-1) > 0
    assert touched.tolist() == [False, False, True, True, True, False]


@pytest.mark.parametrize("packing", [False, True])
def test_eight_portions_of_one_row_are_one_portion_of_eight(tmp_path, packing):
    """However unequal the rows' numbers of tokens."""
    settings = {"steps": 5, "packing": packing, "optimizer": "adamw", "rate": 1e-2}
    many = dataclasses.replace(CONFIG, batch_size=1, accumulation=8, **settings)
    one = dataclasses.replace(CONFIG, batch_size=8, accumulation=1, **settings)
    first, _ = _fitted(tmp_path, "many", many)
    second, _ = _fitted(tmp_path, "one", one)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4)


def test_the_same_seed_has_the_same_losses_and_another_has_others(tmp_path):
    losses = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        watch = _Losses()
        config = dataclasses.replace(CONFIG, seed=seed, logging_steps=1)
        _fitted(tmp_path, name, config, callbacks=[watch])
        losses[name] = watch.seen
    assert len(losses["a"]) == 12
    assert losses["a"] == losses["b"] != losses["c"]


def _lora(seed=0):
    from textgym.pretrained.adapters import AdapterConfig, add_adapters

    model = make_language_model(CONFIG, TOKENIZER)
    add_adapters(model, AdapterConfig(rank=2, seed=seed), base="none")
    return model


ADAMW = dataclasses.replace(CONFIG, optimizer="adamw", rate=1e-2)


@pytest.mark.parametrize("make", [lambda: make_language_model(CONFIG, TOKENIZER), _lora])
def test_a_stop_changes_no_weight_whatever_learns_and_looks_do_not_either(tmp_path, make):
    """With looks at held-out documents, packed, accumulated, and killed between two checkpoints."""
    config = dataclasses.replace(
        ADAMW, packing=True, eval_steps=3, batch_size=2, accumulation=2, steps=9
    )
    given = {"documents": text_documents(TOKENIZER, TEXTS, 8), "held_out": PROMPTED}
    straight, figures = _fitted(tmp_path, "straight", config, model=make(), **given)
    with pytest.raises(KeyboardInterrupt):
        _fitted(tmp_path, "cut", config, model=make(), callbacks=[_StopAt(7)], **given)
    resumed, again = _fitted(tmp_path, "cut", config, model=make(), **given)
    assert _equal(straight, resumed)
    assert again["perplexity"] == figures["perplexity"]
    blind, _ = _fitted(
        tmp_path, "blind", dataclasses.replace(config, eval_steps=None), model=make(), **given
    )
    assert _equal(straight, blind)


class _Norms(TrainerCallback):
    def __init__(self):
        self.seen = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        self.seen.append(float(torch.cat(gradients).norm()))


def test_gradients_are_cut_to_a_norm_of_one(tmp_path):
    model, watch = make_language_model(CONFIG, TOKENIZER), _Norms()
    with torch.no_grad():
        model.lm_head.weight.mul_(300)
    _fitted(tmp_path, "m", model=model, callbacks=[watch])
    assert watch.seen[0] == pytest.approx(1, abs=1e-4)
    assert max(watch.seen) <= 1 + 1e-4


def test_matrices_decay_and_nothing_else():
    config = dataclasses.replace(ADAMW, weight_decay=0.3)
    groups = _optimizer(config, make_model("gpt2"), bf16=False).param_groups
    decays = {(p.ndim > 1, group["weight_decay"]) for group in groups for p in group["params"]}
    assert decays == {(True, 0.3), (False, 0.0)}


def test_learning_rates_rise_stay_and_fall():
    """Of 100 steps ten rise and forty fall, each by the same share."""
    config = dataclasses.replace(CONFIG, steps=100, warmup=0.1, cooldown=0.4)
    found = [_trapezoid(step, config) for step in range(100)]
    expected = [n / 10 for n in range(1, 11)] + [1.0] * 50 + [n / 40 for n in range(40, 0, -1)]
    assert found == pytest.approx(expected)


def test_adapters_learn_and_the_base_stays(tmp_path):
    before = _lora()
    model, _ = _fitted(tmp_path, "lora", ADAMW, model=_lora())
    for (name, old), new in zip(before.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(old, new) != ("lora_" in name), name


def test_patience_ends_with_the_weights_of_the_best_look(tmp_path):
    """Trained on one text and looked at on another, it gets worse and worse."""
    watch = _Losses()
    config = dataclasses.replace(
        ADAMW, rate=3e-2, steps=40, eval_steps=2, patience=2, warmup=0.0, cooldown=0.0
    )
    model, figures = _fitted(
        tmp_path,
        "m",
        config,
        documents=text_documents(TOKENIZER, ["abcd"], 8),
        held_out=text_documents(TOKENIZER, ["hgfe"], 8),
        callbacks=[watch],
    )
    assert figures["steps"] < 40
    alone = perplexity(model, TOKENIZER, ["hgfe"], 8)
    assert figures["perplexity"] == pytest.approx(alone, rel=1e-5)
    assert math.log(alone) <= min(watch.seen[-3:]) + 1e-5


def test_epochs_are_counted_in_updates(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=2.0, batch_size=2, accumulation=2)
    _, figures = _fitted(tmp_path, "m", config)
    assert figures["steps"] == 2 * math.ceil(math.ceil(10 / 2) / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"epochs": 0.0}, "epochs must be above 0"),
        ({"row_tokens": 1}, "row_tokens must be at least 2"),
        ({"patience": 2}, "patience counts looks"),
        ({"eval_steps": 2}, "eval_steps needs held-out documents"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        _fitted(tmp_path, "m", dataclasses.replace(CONFIG, **change))


def test_muon_does_not_take_adapters(tmp_path):
    with pytest.raises(ValueError, match="take adamw with lora"):
        _fitted(tmp_path, "m", CONFIG, model=_lora())


def test_packing_keeps_every_document_and_fits_the_rows():
    documents = [Document([1] * n) for n in (3, 8, 5, 2, 6, 3, 1, 4)]
    rows = packed(documents, 8)
    assert sorted(len(d.ids) for row in rows for d in row) == [1, 2, 3, 3, 4, 5, 6, 8]
    assert [sum(len(d.ids) for d in row) for row in rows] == [8, 8, 8, 8]


@pytest.mark.parametrize("length", range(2, 9))
def test_what_does_not_fit_is_learned_once_each(length):
    whole = text_documents(TOKENIZER, ["abcdefgh"], length, whole=True)
    row = [TOKENIZER.bos_id, *TOKENIZER.encode("abcdefgh"), TOKENIZER.eos_id]
    assert [token for one in whole for token in one.ids[one.start :]] == row[1:]
    assert max(len(one.ids) for one in whole) <= length
    assert text_documents(TOKENIZER, ["abcdefgh"], length) == whole[:1]


def test_a_seed_decides_the_order_of_rows_from_the_same_first_weights(tmp_path):
    documents = text_documents(TOKENIZER, TEXTS, 8)
    found = [
        _fitted(
            tmp_path,
            f"{number}",
            dataclasses.replace(ADAMW, seed=seed),
            model=make_language_model(CONFIG, TOKENIZER),
            documents=documents,
        )[0]
        for number, seed in enumerate((0, 0, 1))
    ]
    assert _equal(found[0], found[1])
    assert not _equal(found[0], found[2])


def test_a_document_with_a_single_token_to_learn_is_learned(tmp_path):
    """What has none is left out."""
    first = make_language_model(CONFIG, TOKENIZER)
    given = {"documents": [Document([1, 3, 4], 2), Document([1, 3], 2)], "held_out": []}
    learned, _ = _fitted(
        tmp_path, "m", ADAMW, model=make_language_model(CONFIG, TOKENIZER), **given
    )
    assert not _equal(first, learned)
    with pytest.raises(ValueError, match="no text to learn from"):
        _fitted(tmp_path, "n", ADAMW, model=first, **(given | {"documents": [Document([1, 3], 2)]}))
