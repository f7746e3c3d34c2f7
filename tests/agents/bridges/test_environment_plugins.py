"""A language model proposes and drafts the same for a text, whatever stands beside it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.bridges.environment_plugins import LanguageModelDrafter, LanguageModelProposer
from tests.agents.toys import VOCABULARY, make_model
from textgym.proposing.drafts import resolve_drafter
from textgym.proposing.proposals import resolve_proposer
from textgym.tasks import get_task
from textgym.tokenizers import load_tokenizer
from textgym.types import Example

LETTERS = "abcdefgh"
TOKENIZER = load_tokenizer(f"characters:{LETTERS}")
PAD, BOS, EOS = 0, 1, 2
ROWS = st.lists(st.text(LETTERS, max_size=9), min_size=1, max_size=6)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    make_model(request.param).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def proposer(folder):
    return LanguageModelProposer(folder, 4, TOKENIZER)


@pytest.fixture(scope="module")
def drafter(folder):
    return LanguageModelDrafter(folder, TOKENIZER, prompt_tokens=4, completion_tokens=8)


def lay_out(texts, width):
    tokens = np.full((len(texts), width), PAD)
    length = np.ones(len(texts), dtype=np.int64)
    tokens[:, 0] = BOS
    for row, text in enumerate(texts):
        ids = TOKENIZER.encode(text)
        tokens[row, 1 : 1 + len(ids)] = ids
        length[row] += len(ids)
    return tokens, length


@torch.no_grad()
def next_log_probs(folder, ids):
    """The model's own distribution after one unpadded text."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    return model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(dim=-1)


@settings(deadline=None, max_examples=30)
@given(texts=ROWS, width=st.integers(10, 20))
def test_proposals_do_not_depend_on_the_batch(proposer, texts, width):
    """Neither on the padding, nor on the texts beside."""
    together = proposer.propose(*lay_out(texts, width)).tolist()
    alone = [proposer.propose(*lay_out([text], len(text) + 1))[0].tolist() for text in texts]
    assert alone == together


def test_proposals_are_the_models_likeliest_ordinary_tokens(folder, proposer):
    tokens, length = lay_out(["gab"], 7)
    log_probs = next_log_probs(folder, tokens[0, : length[0]].tolist())
    ordinary = sorted(range(3, VOCABULARY), key=lambda token: -float(log_probs[token]))
    assert ordinary[:4] == proposer.propose(tokens, length)[0, :, 0].tolist()


def test_more_candidates_than_tokens_are_no_candidates(folder):
    proposer = LanguageModelProposer(folder, 20, TOKENIZER)
    proposed = proposer.propose(*lay_out(["a"], 3))
    assert proposed.shape == (1, 20, 1)
    assert set(range(3, VOCABULARY)) == set(proposed[0, :8, 0].tolist())
    assert proposed[0, 8:, 0].tolist() == [PAD] * 12


def test_torch_gets_torch_and_an_empty_batch_is_empty(proposer):
    tokens, length = lay_out(["ab", ""], 5)
    tokens.flags.writeable = False
    proposed = proposer.propose(torch.tensor(tokens), torch.tensor(length))
    assert isinstance(proposed, torch.Tensor)
    assert proposer.propose(tokens, length).tolist() == proposed.tolist()
    assert proposer.propose(tokens[:0], length[:0]).shape == (0, 4, 1)


def test_an_environment_can_name_the_proposer(folder):
    proposer = resolve_proposer(
        "agents.bridges.environment_plugins:LanguageModelProposer",
        3,
        TOKENIZER,
        get_task("Alphabet"),
        [],
        {"path": str(folder)},
    )
    assert (proposer.num_candidates, proposer.num_tokens) == (3, 1)


def test_a_model_of_another_vocabulary_is_refused(folder):
    with pytest.raises(ValueError, match="knows 11 ids and the tokenizer has 29"):
        LanguageModelProposer(folder, 4, load_tokenizer("characters:abcdefghijklmnopqrstuvwxyz"))


def test_a_text_that_the_model_cannot_read_is_refused(proposer):
    tokens, length = lay_out(["a" * 64], 70)
    with pytest.raises(ValueError, match="65 tokens is longer than the 64 that the model"):
        proposer.propose(tokens, length)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no language model in"):
        LanguageModelProposer(tmp_path, 4, TOKENIZER)


@settings(deadline=None, max_examples=15)
@given(texts=ROWS, seed=st.integers(0, 2**32))
def test_a_row_is_drafted_alone_as_in_a_batch(drafter, texts, seed):
    examples = [Example(prompt=text) for text in texts]
    together = drafter.draft(
        examples, [np.random.default_rng(seed + row) for row in range(len(texts))]
    )
    alone = [
        drafter.draft([example], [np.random.default_rng(seed + row)])[0]
        for row, example in enumerate(examples)
    ]
    assert alone == together
    assert all(len(draft) <= 8 and min(draft, default=3) > EOS for draft in together)


def test_a_generator_gives_the_same_however_long_its_draft(drafter):
    """What a row draws next must not depend on where the model stopped."""
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    drafter.draft([Example(prompt="a")], [one])
    drafter.draft([Example(prompt="hgf")], [other])
    assert one.random() == other.random()


def test_drafts_are_drawn_from_the_model(folder):
    """The first token of many drafts against the model's own probabilities."""
    count = 2000
    drafter = LanguageModelDrafter(folder, TOKENIZER, prompt_tokens=4, completion_tokens=1)
    drafts = drafter.draft(
        [Example(prompt="ab")] * count, [np.random.default_rng(seed) for seed in range(count)]
    )
    probs = next_log_probs(folder, [BOS, *TOKENIZER.encode("ab")]).exp()
    probs[[PAD, BOS]] = 0.0
    probs = (probs / probs.sum()).tolist()
    firsts = [draft[0] if draft else EOS for draft in drafts]
    shares = [firsts.count(token) / count for token in range(VOCABULARY)]
    assert probs == pytest.approx(shares, abs=4 * np.sqrt(0.25 / count))


def test_a_long_prompt_keeps_its_end(drafter):
    """As the environment lays it out: the end is what the agent sees."""
    own, other = np.random.default_rng(5), np.random.default_rng(5)
    long = drafter.draft([Example(prompt="abcdefgh")], [own])
    assert drafter.draft([Example(prompt="fgh")], [other]) == long


def test_an_environment_can_name_the_drafter(folder):
    drafter = resolve_drafter(
        "agents.bridges.environment_plugins:LanguageModelDrafter",
        TOKENIZER,
        get_task("Alphabet"),
        4,
        6,
        {"path": str(folder), "temperature": 0.5},
    )
    assert drafter.draft([], []) == []
    with pytest.raises(ValueError, match="temperature of drafts must be above 0, got 0"):
        resolve_drafter(
            "agents.bridges.environment_plugins:LanguageModelDrafter",
            TOKENIZER,
            get_task("Alphabet"),
            4,
            6,
            {"path": str(folder), "temperature": 0},
        )
