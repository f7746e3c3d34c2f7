"""Scores of parts: each its own, the same in any batch, and paid as an environment pays them."""

import gymnasium as gym
import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config

from reward_models.learning.label_trainer import IGNORED, FitConfig
from reward_models.learning.stepwise import (
    ProcessTrainingConfig,
    StepwiseExample,
    _encode,
    examples_of_marks,
    fit_process,
    labelled_accuracy,
    token_cross_entropy,
)
from reward_models.models.process import ProcessReward, TokenScorer, TokenScorerConfig
from reward_models.models.steps import lay_out, reduce_steps, split_steps
from reward_models.preferences import Marked
from reward_models.reading.batching import pad_rows
from reward_models.reading.loading import load_reward
from reward_models.reading.readers import PretrainedReader
from textgym.tasks.toys import Alphabet
from textgym.testing import check_reward_function
from textgym.tokenizers import CharacterTokenizer, load_tokenizer

PROMPTS = ["the film", "", "a lovely story with music", "dull"] * 3


@pytest.fixture
def completions(sentence):
    return ["\n".join(sentence(seed * 7 + n, 3) for n in range(seed % 4)) for seed in range(12)]


@pytest.fixture(params=["tokens", "steps", "encoder"])
def reward(request, language_model, tokenizer, words, tmp_path):
    """Per token and per step on a decoder, and per step on an encoder."""
    settings = {"max_tokens": 60, "delimiter": "\n", "reduction": "sum"}
    if request.param == "encoder":
        torch.manual_seed(0)
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(tmp_path / "bert")
        model = TokenScorer.from_language_model(tmp_path / "bert", **settings)
        return ProcessReward(model, PretrainedReader(words), batch_size=5)
    if request.param == "tokens":
        settings["delimiter"] = None
    model = TokenScorer.from_language_model(language_model, **settings)
    return ProcessReward(model, tokenizer, batch_size=5)


def test_a_score_depends_on_neither_batch_nor_order(reward, completions):
    together = reward.step_scores(PROMPTS, completions)
    for row, steps in enumerate(together):
        alone = reward.step_scores([PROMPTS[row]], [completions[row]])[0]
        assert alone == pytest.approx(steps, abs=1e-5)
    backwards = reward(PROMPTS[::-1], completions[::-1])[::-1]
    assert backwards == pytest.approx(reward(PROMPTS, completions), abs=1e-5)


def test_scores_stay_with_their_tokens_whatever_the_side_of_the_padding(reward):
    rows = [[2, 9, 8, 7, 6, 9, 9], [2, 5, 4], [2]]
    alone = [reward.model(*pad_rows([row], 0))[0] for row in rows]
    right = reward.model(*pad_rows(rows, 0))
    left = torch.tensor([[0] * (7 - len(row)) + row for row in rows])
    left_mask = torch.tensor([[0] * (7 - len(row)) + [1] * len(row) for row in rows])
    from_left = reward.model(left, left_mask)
    for row, scores in enumerate(alone):
        count = len(scores)
        torch.testing.assert_close(scores, right[row, :count], atol=1e-5, rtol=0)
        torch.testing.assert_close(scores, from_left[row, -count:], atol=1e-5, rtol=0)
    assert not right[2, 1:].any()
    assert not from_left[2, :-1].any()


def test_there_is_one_score_a_step(reward, tokenizer, completions):
    for steps, completion in zip(
        reward.step_scores(PROMPTS, completions), completions, strict=True
    ):
        if reward.model.config.delimiter is None:
            assert len(tokenizer.encode(completion)) == len(steps)
        else:
            assert len([line for line in completion.split("\n") if line]) == len(steps)


def test_it_keeps_the_contract(reward):
    check_reward_function(reward)


def test_loading_gives_the_same_scores(reward, completions, tmp_path):
    reward.save(tmp_path / "process")
    loaded = load_reward(tmp_path / "process", batch_size=3)
    assert reward(PROMPTS, completions) == pytest.approx(loaded(PROMPTS, completions), abs=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "last", "min", "mean"])
def test_a_dense_environment_pays_what_payments_lists(reduction):
    """Token by token; the end of text adds no token and is paid nothing."""
    tokenizer = load_tokenizer(Alphabet().tokenizer)
    trunk = GPT2Config(
        vocab_size=tokenizer.vocab_size, n_positions=64, n_embd=16, n_layer=1, n_head=2
    )
    torch.manual_seed(3)
    config = TokenScorerConfig(trunk=trunk.to_dict(), max_tokens=64, reduction=reduction)
    reward = ProcessReward(TokenScorer(config), tokenizer)
    reward.model.head.weight.data.normal_()
    env = gym.make("textgym:TextGym/Alphabet-v0", reward=reward, dense=True)
    env.reset(seed=1)
    paid, finished = [], False
    while not finished:
        legal = env.unwrapped.action_masks()
        legal[tokenizer.eos_id] = len(paid) >= 3
        action = env.action_space.sample(mask=legal.astype("int8"))
        _, payment, finished, _, info = env.step(action)
        paid.append(payment)
    prompt, completion = env.unwrapped.text()
    (expected,) = reward.payments([prompt], [completion])
    assert len(expected) == len(completion) >= 3
    assert expected == pytest.approx(paid[: len(expected)], abs=1e-5)
    assert paid[len(expected) :] == [0.0] * (len(paid) - len(expected))
    assert info["score"] == pytest.approx(sum(paid), abs=1e-5)
    if reduction == "sum":
        assert reward.step_scores([prompt], [completion])[0] == pytest.approx(
            paid[: len(expected)], abs=1e-5
        )


def test_steps_made_one_by_hand():
    assert reduce_steps([3.0, -1.0, 4.0], "last") == 4.0
    assert reduce_steps([3.0, -1.0, 4.0], "sum") == 6.0
    assert reduce_steps([3.0, -1.0, 4.0], "min") == -1.0
    assert reduce_steps([3.0, -1.0, 4.0], "mean") == 2.0
    assert [reduce_steps([], how) for how in ("last", "sum", "min", "mean")] == [0.0] * 4


def test_texts_are_cut_behind_delimiters():
    assert split_steps("a\nb\n", "\n") == ["a\n", "b\n"]
    assert split_steps("a\nb", "\n") == ["a\n", "b"]
    assert split_steps("\n\na", "\n") == ["\n", "\n", "a"]
    assert split_steps("", "\n") == split_steps("", None) == []
    assert split_steps("a\nb", None) == ["a\nb"]


def test_places_are_those_of_the_steps_last_tokens():
    """By hand, with bos 1 and a, b, c, d as 3, 4, 5, 6."""
    letters = CharacterTokenizer("abcd")
    rows, ends = lay_out(letters, ["a", ""], [["bc", "d"], []], 9, every_token=False)
    assert rows == [[1, 3, 4, 5, 6], [1]]
    assert ends == [[3, 4], []]
    _, ends = lay_out(letters, ["a"], [["bc", "d"]], 9, every_token=True)
    assert ends == [[2, 3, 4]]
    rows, ends = lay_out(letters, ["a"], [["bc", "d"]], 3, every_token=True)
    assert rows == [[1, 5, 6]]
    assert ends == [[1, 2]]
    rows, ends = lay_out(letters, ["a"], [["bc", "d"]], 2, every_token=False)
    assert rows == [[1, 6]]
    assert ends == [[1]]


def test_the_loss_counts_labelled_tokens_alone():
    """By hand: log 2 for a score of 0, and log(1 + e) for a 1 that is labelled 0."""
    scores = torch.tensor([[0.0, 1.0, 9.0], [5.0, 5.0, 5.0]])
    labels = torch.tensor([[1.0, 0.0, IGNORED], [IGNORED] * 3])
    expected = torch.tensor((0.693147 + 1.313262) / 2)
    torch.testing.assert_close(expected, token_cross_entropy(scores, labels))
    assert token_cross_entropy(scores[1:], labels[1:]) == 0


def test_it_learns_which_steps_are_right(language_model, tokenizer, sentence):
    """A step with "great" is right, one with "awful" wrong, in any order; new ones as well."""
    plain = [sentence(n, 2).replace("awful", "poor").replace("great", "fine") for n in range(96)]
    right = [n * 7 % 5 < 2 for n in range(96)]
    steps = [f" {text} {('awful', 'great')[ok]}\n" for text, ok in zip(plain, right, strict=True)]
    examples = [
        StepwiseExample(
            prompt="the film",
            steps=tuple(steps[n : n + 2]),
            labels=tuple(map(float, right[n : n + 2])),
        )
        for n in range(0, 96, 2)
    ]
    config = ProcessTrainingConfig(
        max_tokens=60, fit=FitConfig(epochs=12, batch_size=8, learning_rate=5e-3)
    )
    reward, metrics = fit_process(config, examples[:40], language_model, tokenizer)
    assert metrics["accuracy"] > 0.95
    new = examples[40:]
    scores = reward.step_scores(["the film"] * 8, ["".join(example.steps) for example in new])
    sides = [
        (score > 0.5) == bool(label)
        for given, example in zip(scores, new, strict=True)
        for score, label in zip(given, example.labels, strict=True)
    ]
    assert sum(sides) >= 14


def test_it_learns_a_label_a_token(language_model, tokenizer, sentence):
    """A token is right if its id is even."""
    texts = [sentence(n, 6) for n in range(40)]
    examples = [
        StepwiseExample(
            prompt="",
            steps=(text,),
            labels=tuple(float(token % 2 == 0) for token in tokenizer.encode(text)),
        )
        for text in texts
    ]
    config = ProcessTrainingConfig(
        delimiter=None, max_tokens=60, fit=FitConfig(epochs=12, batch_size=8, learning_rate=1e-2)
    )
    reward, metrics = fit_process(config, examples, language_model, tokenizer)
    assert metrics["accuracy"] > 0.95
    assert [len(tokenizer.encode(text)) for text in texts] == [
        len(scores) for scores in reward.step_scores([""] * 40, texts)
    ]


def test_labels_that_do_not_fit_are_refused(language_model, tokenizer):
    def fitting(steps, labels, delimiter="\n"):
        example = StepwiseExample(prompt="", steps=steps, labels=labels)
        config = ProcessTrainingConfig(delimiter=delimiter, max_tokens=60)
        return fit_process(config, [example], language_model, tokenizer)

    with pytest.raises(ValueError, match="example 0 has 1 labels for 2 steps"):
        fitting(("a\n", "b\n"), (1.0,))
    with pytest.raises(ValueError, match="example 0: 2 is no label"):
        fitting(("a\n",), (2,))
    with pytest.raises(ValueError, match=r"example 0: its steps, joined and cut behind each '\\n'"):
        fitting(("a", "b\n"), (1.0, 0.0))
    with pytest.raises(ValueError, match="example 0 has 2 labels for"):
        fitting(("the film was good",), (1.0, 0.0), delimiter=None)
    with pytest.raises(ValueError, match="choose one of last, sum, min, mean"):
        TokenScorerConfig(reduction="max")
    with pytest.raises(ValueError, match="choose 'probability' or 'score'"):
        TokenScorerConfig(output="logit")
    with pytest.raises(ValueError, match="delimiter is empty"):
        TokenScorerConfig(delimiter="")


def test_marks_label_pieces_or_steps():
    """By hand: a step with a bad character is wrong, another one with a good one right."""
    text = "ab\ncd ef\ngh\nij"
    marks = Marked(
        prompt="p",
        completion=text,
        spans=((0, 1, "good"), (3, 5, "good"), (6, 8, "bad"), (13, 14, "bad")),
    )
    unmarked = Marked(prompt="p", completion=text, spans=())
    (pieces,) = examples_of_marks([marks, unmarked], None)
    assert pieces.steps == ("a", "b\n", "cd", " ", "ef", "\ngh\ni", "j")
    assert pieces.labels == (1.0, None, 1.0, None, 0.0, None, 0.0)
    (lines,) = examples_of_marks([marks, unmarked], "\n")
    assert lines.steps == ("ab\n", "cd ef\n", "gh\n", "ij")
    assert lines.labels == (1.0, 0.0, None, 0.0)


def test_it_learns_from_marked_words(language_model, tokenizer, sentence):
    """ "great" is marked good and "awful" bad; what nobody marked teaches nothing."""

    def marked(text):
        places = [
            (text.index(word), text.index(word) + len(word), mark)
            for word, mark in ((" great", "good"), (" awful", "bad"))
            if word in text
        ]
        return Marked(prompt="", completion=text, spans=tuple(sorted(places)))

    plain = [sentence(n, 2).replace("awful", "poor").replace("great", "fine") for n in range(60)]
    texts = [f" {each} {('awful', 'great')[n % 2]} film" for n, each in enumerate(plain)]
    config = ProcessTrainingConfig(
        delimiter=None, max_tokens=60, fit=FitConfig(epochs=12, batch_size=8, learning_rate=5e-3)
    )
    examples = examples_of_marks([marked(text) for text in texts], None)
    reward, metrics = fit_process(config, examples[:40], language_model, tokenizer)
    assert metrics["accuracy"] > 0.95
    right = labelled_accuracy(reward, config, examples[40:])
    assert all(len(row) >= 1 for row in right)
    flat = [each for row in right for each in row]
    assert sum(flat) >= 0.9 * len(flat)


def test_a_piece_s_label_goes_with_its_tokens_where_the_text_is_cut(language_model, tokenizer):
    """The last tokens that are read keep the labels of their own pieces."""
    pieces = ("film film film film", " great great", " awful")
    example = StepwiseExample(prompt="", steps=pieces, labels=(None, 1.0, 0.0))
    sizes = [len(ids) for ids in tokenizer.encode_batch(list(pieces))]
    for most in (60, sizes[1] + sizes[2] + 1, sizes[2] + 2):
        config = ProcessTrainingConfig(delimiter=None, max_tokens=most)
        ((row, labels),) = _encode(config, [example], tokenizer)
        read = [IGNORED] * sizes[0] + [1.0] * sizes[1] + [0.0] * sizes[2]
        assert len(row) == len(labels) <= most
        assert labels[1:] == read[-(len(row) - 1) :]
