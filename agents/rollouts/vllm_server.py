"""vLLM's server as the engine: ids over HTTP in and out, weights by a folder that both can read.

``POST /inference/v1/generate`` writes one text a request, as many at once as the server will have;
``POST /collective_rpc`` has it read the folder (``reload_weights``), which vLLM serves with
``VLLM_SERVER_DEV_MODE=1`` alone, and ``POST /reset_prefix_cache`` forgets what the old weights made
of prompts. The weights are sent before every collection, so that a server that was restarted in
between writes with the right ones. Nothing is tried again: what a collection needs comes from one
set of weights or not at all, and an iteration that ends changes nothing.

Simplifications: the folder is written whole each time; the list of legal ids goes with every
request, which for a vocabulary of 100,000 is most of what is sent; weights do not go from one GPU
to another by NCCL or IPC.

Source: the routes and fields are those of vLLM 0.32,
``vllm/entrypoints/scale_out/token_in_token_out/protocol.py`` and
``vllm/entrypoints/serve/dev/rpc/api_router.py``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agents.config import BUILT_IN
from agents.models.loading import save_model
from agents.rollouts.engine import EngineError, Order, Written, require_engine
from textgym.pretrained.adapters import has_adapters, merge_adapters

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx2
    from torch import Tensor

    from agents.config import LearnerConfig
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.engine import Engine
    from textgym.envs.vector import TextVectorEnv

__all__ = ["VLLMServer", "open_engine"]

_GENERATE, _RPC, _FORGET = "/inference/v1/generate", "/collective_rpc", "/reset_prefix_cache"
_MOST_AT_ONCE = 256
_KEY = "VLLM_API_KEY"
_SHOWN = 200
_OK, _MISSING = 200, 404
_NO_KEY = (401, 403)
_LOCAL = ("localhost", "127.0.0.1", "::1")
_HOW = "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --tokens-only --logprobs-mode processed_logprobs"


def open_engine(config: LearnerConfig, envs: TextVectorEnv) -> Engine | None:
    """The engine that settings ask for; ``None`` for the built-in one.

    Raises:
        EngineError: If the server cannot be reached or is not started as it has to be.
        ModuleNotFoundError: If httpx2 is not installed; the message says how to get it.
        ValueError: If it cannot serve the environment or the sampling.
    """
    if config.engine == BUILT_IN:
        return None
    engine = VLLMServer(config.engine, folder=config.engine_folder, timeout=config.engine_timeout)
    engine.connect(envs.tokenizer.bos_id, top_k=config.top_k)
    require_engine(engine, envs, config.sampling)
    return engine


class VLLMServer:
    """An ``Engine`` over HTTP.

    Attributes:
        returns_kept: Whether the server says what top-k and top-p kept.
    """

    def __init__(
        self, url: str, *, folder: str | Path | None = None, timeout: float = 600.0
    ) -> None:
        """Prepares to ask; nothing is sent yet.

        Args:
            url: Its address, see ``agents.config.require_engine_address``.
            folder: Where weights are put; ``None`` for a temporary folder.
            timeout: Seconds for one request.

        Raises:
            ModuleNotFoundError: If httpx2 is not installed.
            ValueError: If a key would travel without encryption.
        """
        self._url, key = url.rstrip("/"), os.environ.get(_KEY, "").strip()
        parts = urlsplit(self._url)
        if key and parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise ValueError(
                f"the key in {_KEY} would go to {parts.hostname} without encryption: use https, or "
                "unset the variable"
            )
        _require_package()
        self._key, self._timeout, self.returns_kept = key, timeout, False
        if folder is None:
            folder = tempfile.mkdtemp(prefix="textgym-engine-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._folder = Path(folder).absolute()

    def connect(self, bos_id: int, *, top_k: int | None = None) -> None:
        """Asks for one token, to see whether the server is there and what it can do.

        Args:
            bos_id: What a text begins with.
            top_k: As it will be asked for; where that is ``None``, what is kept is not asked for.

        Raises:
            EngineError: If it is not there, or not started as it has to be.
        """
        limits = {} if top_k is None else {"top_k": top_k}
        asked = {"max_tokens": 1, "logprobs": 0, "ignore_eos": True, **limits}
        with self._client() as client:
            reply = self._post(client, _GENERATE, {"token_ids": [bos_id], "sampling_params": asked})
        self.returns_kept = self._read(reply).kept is not None

    def refresh(self, policy: TransformerPolicy) -> None:
        """Takes over a policy's weights; see ``Engine``."""
        model = policy.model
        save_model(merge_adapters(model) if has_adapters(model) else model, self._folder)
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(self._folder)}}
        with self._client() as client:
            self._post(client, _RPC, body)
            forgot = self._post(client, _FORGET, None)
        if isinstance(forgot, dict) and forgot.get("success") is False:
            raise EngineError(
                f"{self._url} did not forget what its old weights made of prompts, as it is "
                "writing for somebody else: give the run a server of its own"
            )

    def write(self, prompts: Sequence[list[int]], uniform: Tensor, order: Order) -> list[Written]:
        """Writes a text after each prompt; see ``Engine``."""
        bodies = [
            {"token_ids": prompt, "sampling_params": _parameters(order, seed)}
            for prompt, seed in zip(prompts, _seeds(uniform), strict=True)
        ]
        at_once = min(len(bodies), _MOST_AT_ONCE)
        with self._client() as client, ThreadPoolExecutor(at_once) as pool:
            replies = [pool.submit(self._post, client, _GENERATE, body) for body in bodies]
            try:
                return [self._read(reply.result()) for reply in replies]
            except BaseException as error:
                # What is on its way is waited for, unless somebody stops the run.
                pool.shutdown(wait=False, cancel_futures=True)
                if not isinstance(error, Exception):
                    client.close()
                raise

    def _client(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=self._timeout,
            limits=httpx2.Limits(max_connections=_MOST_AT_ONCE),
            trust_env=False,  # it is a machine of ours, and no proxy is on the way
        )

    def _post(self, client: httpx2.Client, path: str, body: Any) -> Any:
        """Sends a request once; returns what the answer holds, or ``None`` if it is empty."""
        import httpx2

        try:
            answer = client.post(self._url + path, json=body)
        except httpx2.TimeoutException as error:
            raise EngineError(
                f"{self._url} gave no answer in {self._timeout:g} seconds: is it still working? A "
                "longer engine_timeout may help"
            ) from error
        except httpx2.HTTPError as error:
            raise EngineError(
                f"{self._url} cannot be reached ({type(error).__name__}: {_line(str(error))}): is "
                f"it running? Start it with {_HOW}"
            ) from error
        if answer.status_code != _OK:
            raise EngineError(self._refusal(path, answer.status_code, answer.text))
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise EngineError(
                f"{self._url}{path} answers with what is no JSON, {_line(answer.text)!r}: is it "
                "vLLM's server?"
            ) from error

    def _refusal(self, path: str, status: int, said: str) -> str:
        if status == _MISSING:
            return f"{self._url} knows no {path}: start it with {_HOW}"
        if status in _NO_KEY:
            return f"{self._url} wants a key (status {status}): set the variable {_KEY}"
        what = "the weights, does it serve this model?" if path == _RPC else "the request"
        return f"{self._url} refused {what} Status {status} of {path}: {_line(said)!r}"

    def _read(self, reply: Any) -> Written:
        """What is in the answer to one request."""
        try:
            (choice,) = reply["choices"]
            ids, kept = choice["token_ids"], choice.get("sampling_mask")
            log_probs = [float(each["logprob"]) for each in choice["logprobs"]["content"]]
            reason = choice.get("finish_reason")
            ids = [int(each) for each in ids]
            kept = None if kept is None else [[int(each) for each in some] for some in kept]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise EngineError(
                f"{self._url}{_GENERATE} answers without the ids, or their log-probabilities, of "
                f"one text ({_line(str(reply))}): is it vLLM 0.28 or newer?"
            ) from error
        if reason not in ("stop", "length"):
            raise EngineError(
                f"{self._url} gave a text up after {len(ids)} ids ({reason}): its log says why"
            )
        return Written(ids, log_probs, kept)


def _parameters(order: Order, seed: int) -> dict[str, Any]:
    """VLLM's sampling parameters for one text; the server's own defaults have no say."""
    sampling = order.sampling
    limits: dict[str, Any] = {} if sampling.top_k is None else {"top_k": sampling.top_k}
    if sampling.top_p is not None:
        limits["top_p"] = sampling.top_p
    return {
        "max_tokens": order.most,
        "temperature": sampling.temperature,
        "seed": seed,
        "logprobs": 0,  # that of the drawn id alone
        "stop_token_ids": [order.eos_id],
        "ignore_eos": True,  # the model's own end is one of the tokenizer's ids, or none
        "allowed_token_ids": list(order.legal),
        "detokenize": False,
        **limits,
    }


def _seeds(uniform: Tensor) -> list[int]:
    """A seed for each text, of up to 48 bits of its random numbers, ``(n, C)`` in [0, 1)."""
    first = (uniform[:, :2].double() * 2**24).long()
    numbers: list[list[int]] = first.tolist()
    return [sum(part << 24 * place for place, part in enumerate(row)) for row in numbers]


def _require_package() -> None:
    if importlib.util.find_spec("httpx2") is None:
        raise ModuleNotFoundError(
            'an engine over HTTP needs httpx2: pip install "textgym[engine]"', name="httpx2"
        )


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
