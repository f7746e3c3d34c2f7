"""vLLM's routes, spoken by a local server: what is sent, what comes back, and every way to fail."""

import time
from functools import partial

import pytest
import torch

from agents.config import LearnerConfig
from agents.grpo import GRPO, GRPOConfig
from agents.maths.distributions import Sampling
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.rollouts.engine import Dictation, EngineError, Order
from agents.rollouts.vllm_server import VLLMServer
from agents.training.guards import GuardError
from tests.agents.learners import make_policy
from tests.agents.rollouts.fake_engines import fake_vllm
from tests.agents.toys import make_model, make_toy
from textgym.pretrained.adapters import AdapterConfig, add_adapters

SETTINGS = {"episodes": 8, "minibatches": 2, "micro_batch_tokens": 40}
GENERATE, RPC, FORGET = "/inference/v1/generate", "/collective_rpc", "/reset_prefix_cache"


def _weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_a_run_over_http_writes_with_the_weights_it_has_learned(tmp_path):
    """After two iterations the server has what the policy had before the second update."""
    with fake_vllm(make_policy()) as server:
        config = PPOConfig(
            **SETTINGS, learning_rate=1e-2, engine=server.url, engine_folder=str(tmp_path / "w")
        )
        agent = PPO(make_policy(), make_toy(), config)
        agent.step()
        before = _weights(agent.policy.model)
        metrics, rollout = agent.step()
        served = _weights(server.policy.model)
    for mine, theirs in zip(before, served, strict=True):
        assert torch.equal(mine, theirs)
    assert metrics["sampler_gap"] < 1e-5
    assert metrics["importance_ess"] == pytest.approx(1.0, abs=1e-4)
    assert agent.config.importance_cap is None  # what was said stays what it was
    paths = [path for path, _ in server.requests]
    assert paths.count(RPC) == paths.count(FORGET) == 2
    probe, *asked = [body for path, body in server.requests if path == GENERATE]
    assert probe["token_ids"] == [1]
    assert len(asked) == 16
    assert sorted(body["token_ids"] for body in asked[8:]) == sorted(
        row[:length].tolist()
        for row, length in zip(rollout.tokens, rollout.prompt_lengths.tolist(), strict=True)
    )
    parameters = asked[0]["sampling_params"]
    assert parameters["allowed_token_ids"] == [2, *range(3, 11)]
    assert parameters["stop_token_ids"] == [2]
    assert parameters["max_tokens"] == agent.envs.completion_tokens
    assert (parameters["logprobs"], parameters["ignore_eos"]) == (0, True)
    assert len({body["sampling_params"]["seed"] for body in asked}) == 16


def test_kept_sets_come_over_http():
    with fake_vllm(make_policy()) as server:
        config = GRPOConfig(
            **SETTINGS, engine=server.url, group_size=4, top_k=3, top_p=0.9, temperature=0.7
        )
        agent = GRPO(make_policy(), make_toy(), config)
        metrics, rollout = agent.step()
    assert rollout.kept is not None
    assert metrics["sampler_gap"] < 1e-5
    sent = server.requests[-1][1]["sampling_params"]
    assert (sent["top_k"], sent["top_p"], sent["temperature"]) == (3, 0.9, 0.7)


def test_adapters_are_sent_merged_into_the_weights(tmp_path):
    pytest.importorskip("peft")
    model = make_model("llama")
    add_adapters(model, AdapterConfig(rank=2), base="here")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    with fake_vllm(make_policy(kind="llama")) as server:
        VLLMServer(server.url, folder=tmp_path).refresh(TransformerPolicy(model))
        ids = torch.tensor([[1, 3, 4, 5]])
        served = server.policy.model(input_ids=ids).logits
    torch.testing.assert_close(served, model(input_ids=ids).logits, atol=1e-5, rtol=1e-4)


ORDER = Order(sampling=Sampling(), legal=(2, *range(3, 11)), eos_id=2, most=6)


def _fails(answer, said, *, path=GENERATE, timeout=60.0):
    """The server answers otherwise at one path, which is one line."""
    with fake_vllm(make_policy()) as server:
        server.answer = lambda asked, body, _: answer(body) if asked == path else None
        engine = VLLMServer(server.url, timeout=timeout)
        rows, tokens = torch.arange(2), torch.tensor([[1, 3, 0], [1, 4, 0]])
        ask = partial(engine.refresh, make_policy())
        if path == GENERATE:
            reader = Dictation(engine, ORDER, torch.rand((2, 6)), 11)
            ask = partial(reader.open, rows, tokens, torch.tensor([2, 2]))
        with pytest.raises(EngineError, match=said) as refused:
            ask()
        assert "\n" not in str(refused.value)


def _choice(**changes):
    choice = {
        "token_ids": [3, 2],
        "logprobs": {"content": [{"token_id": 3, "logprob": -1.0}, {"token_id": 2, "logprob": -1}]},
        "finish_reason": "stop",
    }
    return lambda _: (200, {"choices": [choice | changes]})


FAILURES = {
    "dies": (lambda _: (None, b""), "cannot be reached .* is it running"),
    "500": (lambda _: (500, {"error": "engine\ndead"}), "Status 500 of .*engine"),
    "no JSON": (lambda _: (200, b"<html>gateway</html>"), "is no JSON, '<html>"),
    "other JSON": (lambda _: (200, {"text": "hello"}), "answers without the ids"),
    "a list": (lambda _: (200, []), "answers without the ids"),
    "no log-probabilities": (_choice(logprobs=None), "answers without the ids"),
    "no number": (
        _choice(logprobs={"content": [{"logprob": "x"}, {"logprob": 0}]}),
        "answers without the ids",
    ),
    "given up": (_choice(finish_reason="abort"), r"gave a text up after 2 ids \(abort\)"),
    "half": (_choice(token_ids=[3]), "is not whole"),
    "raw log-probabilities": (
        _choice(logprobs={"content": [{"logprob": -1.0}, {"logprob": 0.5}]}),
        "one of 0.5",
    ),
    "another vocabulary": (_choice(token_ids=[1000, 2]), "the id 1000, which is not legal"),
    "no route": (lambda _: (404, {"detail": "Not Found"}), "knows no .*--tokens-only"),
    "a key": (lambda _: (401, {"error": "Unauthorized"}), "set the variable VLLM_API_KEY"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failure_is_one_line(how):
    _fails(*FAILURES[how])


def test_a_failure_changes_nothing_and_the_next_iteration_is_made_whole():
    with fake_vllm(make_policy()) as server:
        agent = PPO(make_policy(), make_toy(), PPOConfig(**SETTINGS, engine=server.url))
        agent.step()
        before = _weights(agent.policy)
        server.answer = lambda *_: (500, {"error": "dead"})
        with pytest.raises(EngineError, match="Status 500 of /collective_rpc"):
            agent.step()
        assert agent.is_whole
        for mine, theirs in zip(before, agent.policy.parameters(), strict=True):
            assert torch.equal(mine, theirs)
        server.answer = lambda *_: None
        agent.step()
        assert agent.iteration == 2


def test_a_server_that_hangs_is_given_up():
    def hang(_):
        time.sleep(1.0)
        return 200, {}

    _fails(hang, "gave no answer in 0.2 seconds", timeout=0.2)


@pytest.mark.parametrize(
    ("answer", "said", "path"),
    [
        ((500, {"error": "size mismatch"}), "refused the weights, does it serve this", RPC),
        ((404, {}), "knows no /collective_rpc: start it with VLLM_SERVER_DEV_MODE=1", RPC),
        ((None, b""), "cannot be reached", RPC),
        ((200, {"success": False}), "is writing for somebody else", FORGET),
    ],
    ids=["another model", "no such route", "dies", "busy"],
)
def test_weights_that_do_not_arrive_are_one_line(answer, said, path):
    _fails(lambda _: answer, said, path=path)


def test_a_server_that_was_restarted_is_sent_the_weights_again():
    """It has its first weights again, and is sent the learned ones before it writes."""
    with fake_vllm(make_policy()) as server:
        config = PPOConfig(**SETTINGS, engine=server.url, learning_rate=1e-2)
        agent = PPO(make_policy(), make_toy(), config)
        agent.step()
        server.policy = make_policy()
        metrics, _ = agent.step()
    assert metrics["sampler_gap"] < 1e-5


def test_a_server_that_keeps_its_own_weights_is_found_out():
    with fake_vllm(make_policy()) as server:
        config = PPOConfig(**SETTINGS, engine=server.url, learning_rate=0.3)
        agent = PPO(make_policy(), make_toy(), config)
        server.answer = lambda path, *_: (200, {"results": [None]}) if path == RPC else None
        agent.step()
        with pytest.raises(GuardError, match="does the engine serve this model with the weights"):
            agent.step()


def test_nobody_there_is_one_line_before_anything_is_written():
    config = PPOConfig(**SETTINGS, engine="http://127.0.0.1:9")
    with pytest.raises(EngineError, match=r"cannot be reached .*Start it with VLLM_SERVER_DEV"):
        PPO(make_policy(), make_toy(), config)


@pytest.mark.parametrize("sampling", [{"top_k": 3}, {"top_p": 0.9}])
def test_truncated_sampling_is_refused_where_nothing_says_what_was_kept(sampling):
    with fake_vllm(make_policy()) as server:
        server.answer = lambda *_: _choice()(None)
        config = PPOConfig(**SETTINGS, engine=server.url, **sampling)
        with pytest.raises(ValueError, match="start vLLM with --return-sampling-mask"):
            PPO(make_policy(), make_toy(), config)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("vllm", "engine 'vllm' is no address: give builtin, or one such as http://localhost"),
        ("ftp://host", "is no address"),
        ("http://host/v1/chat", "is no address"),
        ("http://me:word@host", "holds a user name, a password or a query"),
    ],
)
def test_what_is_no_address_is_refused(url, said):
    with pytest.raises(ValueError, match=said):
        LearnerConfig(engine=url)


def test_a_key_goes_with_each_request_and_not_over_the_open_net(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    with fake_vllm(make_policy()) as server:
        VLLMServer(server.url).connect(1)
    assert server.headers[0]["Authorization"] == "Bearer secret"
    with pytest.raises(ValueError, match=r"would go to example\.com without"):
        VLLMServer("http://example.com")
