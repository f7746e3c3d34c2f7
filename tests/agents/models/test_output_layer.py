"""Chunked log-probabilities are the plain ones, and so are their gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from agents.maths.masks import pack_mask
from agents.models import output_layer
from agents.models.output_layer import chosen_log_probs

SIZE, WIDTH, VOCABULARY = 23, 5, 19


def _inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(SIZE, WIDTH, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=dtype, requires_grad=True)
    bias = torch.randn(VOCABULARY, generator=generator, dtype=dtype, requires_grad=True)
    legal = torch.rand(SIZE, VOCABULARY, generator=generator) < 0.6
    actions = torch.randint(VOCABULARY, (SIZE,), generator=generator)
    legal[torch.arange(SIZE), actions] = True
    return hidden, weight, bias, actions, legal


@pytest.fixture(autouse=True, params=[0, 200, 10**6], ids=["kept_none", "kept_some", "kept_all"])
def kept(monkeypatch, request):
    """How many numbers the backward pass finds; the others it computes again."""
    monkeypatch.setattr(output_layer, "_KEPT_NUMBERS", request.param)
    return request.param


def _cut(monkeypatch, numbers):
    """Makes chunks of so many logits, or of one action if that has more."""
    monkeypatch.setattr(output_layer, "_CHUNK_BYTES", {"cpu": 4 * numbers})
    monkeypatch.setattr(output_layer, "_FEWEST_ACTIONS", 1)


@pytest.mark.parametrize(
    ("vocabulary", "device", "actions"),
    [(4096, "cpu", 512), (50_000, "cpu", 128), (151_936, "cpu", 128), (128_256, "cuda", 523)],
)
def test_a_chunk_has_as_many_actions_as_are_worth_reading_the_weight(vocabulary, device, actions):
    """8 MiB of logits on a CPU but at least 128 actions, 256 MiB elsewhere: worked out by hand."""
    chunks = output_layer._chunks(actions + 1, vocabulary, torch.device(device))
    assert [slice(0, actions), slice(actions, 2 * actions)] == chunks


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("masked", [False, True], ids=["one_mask", "a_mask_each"])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
def test_equal_to_the_plain_computation(monkeypatch, chunk, temperature, masked, biased):
    """Whatever the size of the chunks, twice if asked; masked ids' logits get no gradient."""
    _cut(monkeypatch, chunk)
    hidden, weight, bias, actions, legal = _inputs(torch.float32)
    legal = legal if masked else torch.ones(VOCABULARY, dtype=torch.bool)
    leaves = [hidden, weight, *([bias] if biased else [])]
    logits = F.linear(hidden, weight, bias if biased else None)
    every = (logits.masked_fill(~legal, -torch.inf) / temperature).log_softmax(-1)
    expected = every.gather(-1, actions[:, None]).squeeze(-1)
    given = pack_mask(legal) if masked else legal
    actual = chosen_log_probs(
        hidden, weight, bias if biased else None, actions, given, temperature
    )[0]
    torch.testing.assert_close(expected, actual)
    probe = torch.randn(SIZE, generator=torch.Generator().manual_seed(2))
    theirs = torch.autograd.grad((expected * probe).sum(), leaves)
    for _ in range(2):
        ours = torch.autograd.grad((actual * probe).sum(), leaves, retain_graph=True)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(other, mine, atol=1e-5, rtol=1e-5)


def test_a_frozen_output_layer_gets_no_gradient_and_costs_none(monkeypatch, kept):
    """Logits and the states' gradient, and where nothing is kept the logits again."""
    _cut(monkeypatch, VOCABULARY)
    hidden, weight, _, actions, _ = _inputs()
    every, product = torch.ones(VOCABULARY, dtype=torch.bool), 2 * SIZE * WIDTH * VOCABULARY
    flows = []
    again = (SIZE - min(SIZE, kept // VOCABULARY)) / SIZE
    for given, products in ((weight, 3 + again), (weight.detach(), 2 + again)):
        with FlopCounterMode(display=False) as counter:
            chosen = chosen_log_probs(hidden, given, None, actions, every, 1.0)[0]
            flows.append(torch.autograd.grad(chosen.sum(), hidden)[0])
        assert counter.get_total_flops() == pytest.approx(products * product)
    torch.testing.assert_close(flows[0], flows[1], atol=0, rtol=0)


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
@pytest.mark.parametrize("masked", [False, True], ids=["one_mask", "a_mask_each"])
def test_entropies_are_the_plain_ones_and_so_are_their_gradients(monkeypatch, chunk, masked):
    """In a sum with the log-probabilities, by autograd through the whole softmax."""
    _cut(monkeypatch, chunk)
    hidden, weight, bias, actions, legal = _inputs(torch.float32)
    legal = legal if masked else torch.ones(VOCABULARY, dtype=torch.bool)
    every = (F.linear(hidden, weight, bias).masked_fill(~legal, -30.0) / 0.7).log_softmax(-1)
    every = torch.where(legal, every, 0.0)  # at exp(-43) nothing is left that counts
    expected = -(torch.where(legal, every.exp(), 0.0) * every).sum(-1)
    given = pack_mask(legal) if masked else legal
    chosen, actual = chosen_log_probs(hidden, weight, bias, actions, given, 0.7, entropies=True)
    torch.testing.assert_close(expected, actual)
    probe, other = torch.randn(2, SIZE, generator=torch.Generator().manual_seed(2))
    picked = every.gather(-1, actions[:, None]).squeeze(-1)
    leaves = [hidden, weight, bias]
    theirs = torch.autograd.grad((expected * probe + picked * other).sum(), leaves)
    ours = torch.autograd.grad((actual * probe + chosen * other).sum(), leaves)
    for mine, plain in zip(ours, theirs, strict=True):
        torch.testing.assert_close(plain, mine, atol=1e-5, rtol=1e-5)


def test_an_entropy_s_gradient_is_its_slope():
    """By differences: the entropy a little further along minus that a little before."""
    hidden, weight, bias, actions, _ = _inputs(torch.float32)
    legal = torch.arange(VOCABULARY) > 3
    direction = torch.randn(SIZE, WIDTH, generator=torch.Generator().manual_seed(4))

    def entropy(states):
        return chosen_log_probs(states, weight, bias, actions, legal, 1.0, entropies=True)[1].sum()

    (gradient,) = torch.autograd.grad(entropy(hidden), hidden)
    step = 1e-2
    with torch.no_grad():
        ahead, behind = (entropy(hidden + sign * step * direction) for sign in (1, -1))
    slope = (ahead - behind) / (2 * step)
    torch.testing.assert_close(slope, (gradient * direction).sum(), atol=1e-3, rtol=1e-3)


def test_entropies_by_hand():
    """Four legal ids alike: log 4. One legal id alone: 0, with a gradient of 0 and no NaN."""
    hidden = torch.zeros(2, WIDTH, requires_grad=True)
    legal = torch.zeros(2, VOCABULARY, dtype=torch.bool)
    legal[0, 5:9] = legal[1, 5] = True
    weight, actions = torch.ones(VOCABULARY, WIDTH), torch.tensor([5, 5])
    _, entropies = chosen_log_probs(
        hidden, weight, None, actions, pack_mask(legal), 1.0, entropies=True
    )
    assert entropies.tolist() == pytest.approx([math.log(4), 0.0])
    entropies.sum().backward()
    assert not hidden.grad.any()


def test_only_the_products_are_narrow_under_autocast():
    """The softmax is float32: its probabilities of one state sum to 1 far better than 1e-2."""
    hidden, weight, _, _, _ = _inputs(torch.float32)
    ids, every = torch.arange(VOCABULARY), torch.ones(VOCABULARY, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        result = chosen_log_probs(hidden[:1].expand(VOCABULARY, -1), weight, None, ids, every, 1.0)[
            0
        ]
    assert result.dtype == torch.float32
    torch.testing.assert_close(torch.tensor(1.0), result.exp().sum(), atol=1e-6, rtol=0)
    exact = F.linear(hidden[0], weight).log_softmax(-1)
    assert 0 < float((result - exact).detach().abs().max()) < 0.1


@pytest.mark.parametrize("learns", [False, True], ids=["no_gradient", "gradient"])
def test_no_more_is_kept_than_may_be(monkeypatch, kept, learns):
    """Autograd saves what went in, an entropy an action, and so many numbers; else nothing."""
    _cut(monkeypatch, VOCABULARY)
    hidden, weight, _, actions, _ = _inputs(torch.float32)
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x)
    with hooks, torch.set_grad_enabled(learns):
        legal = torch.ones(VOCABULARY, dtype=torch.bool)
        chosen_log_probs(hidden, weight, None, actions, legal, 1.0, entropies=True)
    given = (hidden, weight, actions, legal)
    whole = min(SIZE * VOCABULARY, kept // VOCABULARY * VOCABULARY)
    expected = sum(x.numel() for x in given) + SIZE + whole if learns else 0
    assert sum(x.numel() for x in saved) == expected
