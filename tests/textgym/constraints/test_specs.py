"""A value that describes no constraint is refused in one line that says what is wrong in it."""

import pytest

from textgym.constraints import compile_constraints
from textgym.tokenizers import CharacterTokenizer, legal_ids, load_tokenizer


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"forbit": ["a"]}, r"unknown constraint 'forbit'; known: allow, choices, forbid, min_t"),
        (["a"], r"constraints must be a dictionary, got \['a'\]"),
        ({"forbid": ["ab"]}, r"forbid: 'ab' is no single token but 2: \['a', 'b'\] \(ids \[3, 4\]"),
        ({"allow": [""]}, r"allow: '' is no single token but 0"),
        ({"allow": [7]}, r"allow: 7 is neither a text nor an id from 0 to 5"),
        ({"allow": [True]}, r"allow: True is neither"),
        ({"forbid": "a"}, r"forbid must be a list of texts or ids, got 'a'"),
        ({"forbid": ["a", "b", "c"]}, r"forbid and allow leave no token legal"),
        ({"allow": []}, r"forbid and allow leave no token legal"),
        ({"min_tokens": -1}, r"min_tokens must be an integer from 0 on, got -1"),
        ({"min_tokens": 5}, r"min_tokens 5 is more than the allowance of 4"),
        ({"choices": []}, r"choices is empty"),
        ({"choices": "yes"}, r"choices must be a list of texts, got 'yes'"),
        ({"choices": ["a", 1]}, r"choices must be a list of texts"),
        ({"choices": ["ab", "abcab"]}, r"choice 'abcab' cannot be written in 0 to 4 legal tokens"),
        ({"choices": ["a", "x"]}, r"choice 'x' cannot be written"),
        ({"choices": ["x"]}, r"nothing satisfies them all with at most 4 legal tokens"),
        ({"choices": ["a"], "min_tokens": 2}, r"nothing satisfies them all"),
        ({"regex": "a", "choices": ["a"]}, r"regex and choices exclude each other"),
        ({"regex": 1}, r"regex must be a text, got 1"),
    ],
)
def test_a_wrong_value_says_what_is_wrong(spec, message):
    tokenizer = load_tokenizer("characters:abc")
    with pytest.raises(ValueError, match=message) as caught:
        compile_constraints(spec, tokenizer, legal_ids(tokenizer), 4)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_does_not_say_what_its_tokens_write():
    class Silent(CharacterTokenizer):
        token_bytes = None

    tokenizer = Silent("ab")
    with pytest.raises(ValueError, match=r"Silent has no method token_bytes\(id\)"):
        compile_constraints({"choices": ["a"]}, tokenizer, legal_ids(tokenizer), 4)
    compile_constraints({"forbid": ["a"]}, tokenizer, legal_ids(tokenizer), 4)
