"""Messages show what a stranger named in one line, whatever the names are."""

import json

import pytest

from reward_models.preferences import read_preferences
from textgym.corpus.sources import Collection, Faults, collect
from textgym.messages import did_you_mean, listed


def test_names_are_listed_in_one_line_of_bounded_length():
    assert listed(["a", "b c", "ß"]) == "a, b c, ß"
    assert listed([]) == "none"
    assert listed(["a\nb", "", "\u202e", 3]) == r"'a\nb', '', '\u202e', 3"
    assert listed(map(str, range(25))).endswith("18, 19, and 5 more")
    assert len(listed(["x" * 10_000])) < 100
    assert did_you_mean("colum\n", ["colum\r"]) == r" (did you mean 'colum\r'?)"


@pytest.mark.parametrize("odd", ["\n\nHuman: a", "a\rb", "n" * 5000])
def test_a_column_of_a_stranger_s_file_is_shown_in_a_line(odd, tmp_path):
    """Found by ten thousand made-up files."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({odd: "x"}) + "\n", encoding="utf-8")
    table = tmp_path / "a.csv"
    table.write_text(f'"{odd}"\nx\n', encoding="utf-8", newline="")
    tries = [
        lambda: read_preferences(str(path)),
        lambda: read_preferences(str(path), columns={"chosen": "a", "rejected": "b"}),
        lambda: list(collect(Collection(sources=[str(table)]), Faults())),
    ]
    for run in tries:
        with pytest.raises(ValueError, match="column") as caught:
            run()
        said = str(caught.value)
        assert said.isprintable()
        assert len(said) < 1000
