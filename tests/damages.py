"""What can be wrong with the folder of a model or a tokenizer, each done to a copy of a whole one.

Every entry is what is done to the folder, and what a message must then say of it.
"""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

CODE = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"


def _edited(name, **entries):
    def edit(folder):
        path = folder / name
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(known | entries))

    return edit


def _rewritten(name, text):
    return lambda folder: (folder / name).write_text(text)


def _half(name):
    def cut(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def _weights(folder):
    return load_file(folder / "model.safetensors")


def _pickled(file):
    """The weights in a pickle, with which transformers would do."""

    def pickle(folder):
        torch.save(_weights(folder), folder / file)
        (folder / "model.safetensors").unlink()

    return pickle


def _pickled_parts(folder):
    names = list(_weights(folder))
    _pickled("part.bin")(folder)
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "part.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _pickled_by_name(folder):
    _pickled("adapter_model.bin")(folder)
    _edited("config.json", transformers_weights="adapter_model.bin")(folder)


def _lacking(folder):
    weights = _weights(folder)
    del weights[min(weights)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _reshaped(folder):
    weights = _weights(folder)
    name = min(weights)
    weights[name] = weights[name][..., :-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _own_model(folder):
    (folder / "own.py").write_text(CODE)
    _edited(
        "config.json",
        model_type="own",
        auto_map=dict.fromkeys(
            ("AutoConfig", "AutoModel", "AutoModelForCausalLM"),
            "own.Own",
        ),
    )(folder)


def _own_tokenizer(folder):
    (folder / "own.py").write_text(CODE)
    _edited(
        "tokenizer_config.json",
        tokenizer_class="Own",
        auto_map={"AutoTokenizer": ["own.Own", "own.Own"]},
    )(folder)


MODEL = {
    "pickle": (_pickled("pytorch_model.bin"), r"as a pickle \(pytorch_model\.bin\)"),
    "pickle in parts": (_pickled_parts, r"its weights are in part\.bin, which is no file of"),
    "pickle by name": (_pickled_by_name, r"its weights are in adapter_model\.bin, which is no"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
    "a weight too few": (_lacking, r"lacks 1 weights, \S+ among them"),
    "another shape": (_reshaped, r"1 weights have another shape than config\.json .*, \S+ among"),
    "half the weights": (_half("model.safetensors"), ""),
    "empty weights": (_rewritten("model.safetensors", ""), ""),
    "half a config": (_half("config.json"), ""),
    "a list as config": (_rewritten("config.json", "[]"), ""),
    "nothing as config": (_rewritten("config.json", "null"), ""),
    "no type": (_rewritten("config.json", "{}"), ""),
    "a word as a number": (_edited("config.json", initializer_range="wide"), ""),
    "adapters beside it": (_rewritten("adapter_config.json", "{}"), "has adapters beside a model"),
    "code of its own": (_own_model, ""),
}
"""Of a model in ``config.json`` and ``model.safetensors``."""

TOKENIZER = {
    "half": (_half("tokenizer.json"), ""),
    "empty": (_rewritten("tokenizer.json", ""), ""),
    "an empty object": (_rewritten("tokenizer.json", "{}"), ""),
    "a list": (_rewritten("tokenizer.json", "[]"), ""),
    "half its settings": (_half("tokenizer_config.json"), ""),
    "code of its own": (_own_tokenizer, ""),
}
"""Of a tokenizer in ``tokenizer.json`` and ``tokenizer_config.json``."""


def damaged(whole, folder, damage):
    """Copies a whole folder and damages the copy; returns it, and what must be said of it."""
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    harm, says = damage
    harm(folder)
    return folder, says


def require_one_line(caught, folder, says):
    """One line that names the folder and says what is wrong; and no code was run."""
    import re

    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    assert re.search(says, message), message
    assert not (folder / "ran").exists()
