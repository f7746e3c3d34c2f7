"""Engines for tests: one that writes with the policy it is given, and a server that speaks vLLM."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch

from agents.maths.distributions import Sampling
from agents.models.policy import TransformerPolicy
from agents.rollouts.engine import Order, Written
from agents.rollouts.writer import Actor


class FakeEngine:
    """Writes as the built-in sampler does, and says log-probabilities that are off by ``gap``."""

    def __init__(self, gap=0.0, *, returns_kept=True):
        self.gap, self.returns_kept = gap, returns_kept
        self.policy, self.fingerprints, self.calls = None, [], []
        self.spoil = lambda texts: texts

    def refresh(self, policy):
        self.policy = policy.frozen_copy()
        self.fingerprints.append(float(sum(p.detach().sum() for p in policy.parameters())))

    @torch.no_grad()
    def write(self, prompts, uniform, order):
        self.calls.append(len(prompts))
        return self.spoil(write_alone(self.policy, prompts, uniform, order, self.gap))


def write_alone(policy, prompts, uniform, order, gap=0.0):
    """Texts by the built-in actor, without an environment."""
    columns = max(map(len, prompts)) + order.most
    actor = Actor(policy, rows=len(prompts), columns=columns)
    tokens = torch.zeros((len(prompts), columns), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
    actor.open(torch.arange(len(prompts)), tokens, torch.tensor([len(p) for p in prompts]))
    legal = torch.zeros(policy.vocab_size, dtype=torch.bool)
    legal[list(order.legal)] = True
    texts = [Written([], [], None if order.sampling.keeps_all else []) for _ in prompts]
    for step in range(order.most):
        act = actor.act(legal, uniform[actor.rows, step], order.sampling)
        for place, row in enumerate(actor.rows.tolist()):
            texts[row].ids.append(int(act.action[place]))
            texts[row].log_probs.append(float(act.log_prob[place]) + gap)
            if act.kept is not None:
                texts[row].kept.append(act.kept[place].nonzero().flatten().tolist())
        left = actor.close((act.action == order.eos_id).numpy())
        if not len(left):
            break
        actor.feed(act.action[torch.from_numpy(left)])
    return texts


class FakeVLLM:
    """A server of vLLM's routes, with a policy that it reads from the folder it is told of."""

    def __init__(self, policy):
        self.policy, self.url = policy, ""
        self.requests, self.headers = [], []
        self.lock = threading.Lock()
        self.answer = lambda path, body, number: None  # what to say instead: (status, content)

    def generate(self, body):
        asked = body["sampling_params"]
        order = Order(
            sampling=Sampling(
                temperature=asked.get("temperature", 1.0),
                top_k=asked.get("top_k"),
                top_p=asked.get("top_p"),
            ),
            legal=tuple(asked.get("allowed_token_ids", range(self.policy.vocab_size))),
            eos_id=asked.get("stop_token_ids", [-1])[0],
            most=asked["max_tokens"],
        )
        generator = torch.Generator().manual_seed(asked.get("seed", 0))
        uniform = torch.rand((1, order.most), generator=generator)
        with self.lock, torch.no_grad():
            (text,) = write_alone(self.policy, [body["token_ids"]], uniform, order)
        content = [
            {"token_id": i, "logprob": x, "rank": 1, "top_logprobs": []}
            for i, x in zip(text.ids, text.log_probs, strict=True)
        ]
        choice = {
            "index": 0,
            "token_ids": text.ids,
            "logprobs": {"content": content},
            "finish_reason": "stop" if text.ids[-1] == order.eos_id else "length",
            "sampling_mask": text.kept,
        }
        return {"request_id": "1", "choices": [choice]}

    def reply(self, path, body, number):
        """The status and the content of an answer."""
        instead = self.answer(path, body, number)
        if instead is not None:
            return instead
        if path == "/inference/v1/generate":
            return 200, self.generate(body)
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            self.policy = TransformerPolicy.from_pretrained(body["kwargs"]["weights_path"])
            return 200, {"results": [None]}
        if path == "/reset_prefix_cache":
            return 200, {"success": True}
        return 404, {"detail": "Not Found"}


def _handler(fake):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(content) if content else None
            with fake.lock:
                fake.requests.append((self.path, body))
                fake.headers.append(dict(self.headers))
                number = len(fake.requests)
            status, answer = fake.reply(self.path, body, number)
            if status is None:  # the server dies
                self.close_connection = True
                self.connection.close()
                return
            said = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client waited no longer

        def log_message(self, *args):
            """Keeps quiet."""

    return Handler


@contextmanager
def fake_vllm(policy):
    """Serves in a thread of this process."""
    fake = FakeVLLM(policy)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake)) as server:
        server.daemon_threads = True
        server.block_on_close = False
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


def same(first, second, names):
    """Requires that two rollouts have equal arrays of these names."""
    for name in names:
        a, b = getattr(first, name), getattr(second, name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            assert (a is None) == (b is None), name
            assert a is None or torch.equal(a, b), name
