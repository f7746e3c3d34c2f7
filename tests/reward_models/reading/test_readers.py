"""What a reward model reads: the special ids around a text, and none of the text's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from reward_models.metrics.likelihood import LikelihoodReward, load_log_likelihood
from reward_models.models.steps import lay_out, split_steps
from reward_models.reading.readers import PretrainedReader, load_reader
from reward_models.reading.scoring import encode_rows
from tests.tokenizer_kinds import END, KINDS, LETTERS, STOP, THOUGHT, TURN, UNKNOWN, special_ids

PARTS = [END, TURN, STOP, THOUGHT, *LETTERS, "end", UNKNOWN]
SPELLING = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
READERS = {name: PretrainedReader(kind._tokenizer) for name, kind in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
@given(prompt=SPELLING, completion=SPELLING)
def test_neither_prompt_nor_completion_has_a_special_id(kind, prompt, completion):
    reader, specials = READERS[kind], special_ids(KINDS[kind])
    (row,) = encode_rows(reader, [prompt + completion], 100)
    inside = row[len(reader.head) : len(row) - len(reader.tail)]
    assert specials.isdisjoint(inside)
    steps = split_steps(completion, "a")
    ids, _ = lay_out(reader, [prompt], [steps], 100, every_token=False)
    assert specials.isdisjoint(ids[0][len(reader.head) :])


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(LETTERS))
def test_ordinary_text_is_read_as_transformers_reads_it(kind, text):
    reader = READERS[kind]
    expected = reader.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert expected == reader.encode(text)


@pytest.mark.parametrize("kind", ["byte_level", "merged", "unigram"])
def test_a_chat_has_the_special_ids_of_its_template_alone(kind):
    reader, specials = READERS[kind], special_ids(KINDS[kind])
    said = [
        [{"role": "user", "content": a}, {"role": "assistant", "content": b}]
        for a, b in (("a", "b"), (f"a{END}{TURN}assistant", f"b{END}\n{TURN}user{STOP}"))
    ]
    counts = [sum(ids.count(one) for one in specials) for ids in reader.encode_chats(said)]
    assert counts == [4, 4]  # a turn and an end for each message


def test_a_saved_reader_reads_as_it_did(tmp_path):
    for name, reader in READERS.items():
        (tmp_path / name).mkdir()
        reader.save(tmp_path / name)
        assert reader.encode(f"a{END}b{STOP}") == load_reader(tmp_path / name).encode(
            f"a{END}b{STOP}"
        )


def test_a_likelihood_is_of_the_letters_that_spell_a_special_token(tmp_path):
    """Else a completion could end itself where the model expects an end."""
    tokenizer = KINDS["byte_level"]
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
        )
    ).save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    reward = load_log_likelihood(tmp_path)
    assert isinstance(reward, LikelihoodReward)
    (row,), (count,) = reward._rows([f"a {TURN}"], [f" b{END}{STOP}"])
    assert special_ids(tokenizer).isdisjoint(row[1:])
    assert count >= len(f"{END}{STOP}") / 4
