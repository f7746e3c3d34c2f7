"""The front door: every command by its name, and what calls it.

A command is one line of ``COMMANDS``: a frozen config, whose docstrings are its help, and a
function that takes it. Both are imported when the command is called, and torch and its like once
the words have made a config, so that help and what is wrong with a word are said at once.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgym.cli.light import stand_ins
from textgym.cli.parsing import CommandError, UsageError
from textgym.cli.terminal import (
    ReaderGoneError,
    disk_trouble,
    lasting_streams,
    require_place,
    stopped_by_signals,
)
from textgym.installation import require_own_agents
from textgym.messages import did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["COMMANDS", "GROUPS", "Command", "main"]


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is.

    Attributes:
        module: The module that holds both of the below.
        config: The name of its frozen dataclass of settings.
        run: The name of the function that takes the config and does the work.
        summary: One line for the list of commands.
        examples: Whole commands, for its help.
        start: The name of a function from the command's words to the config that they change;
            empty for the config's own defaults.
    """

    module: str
    config: str
    run: str
    summary: str
    examples: tuple[str, ...] = ()
    start: str = ""

    def load(self) -> tuple[type[Any], Callable[[Any], None]]:
        """Imports the command.

        Returns:
            The config's class and the function that takes it.
        """
        module = importlib.import_module(self.module)
        return getattr(module, self.config), getattr(module, self.run)

    def parse(self, name: str, arguments: Sequence[str]) -> Any:
        """Reads the command's words; prints and exits where they ask for help.

        Args:
            name: The command's.
            arguments: What stands behind it.

        Raises:
            UsageError: If they are no config.
        """
        with stand_ins():
            self._read(name, arguments)  # a call for help ends here, and so does a wrong word
        return self._read(name, arguments)

    def _read(self, name: str, arguments: Sequence[str]) -> Any:
        import inspect

        from textgym.cli.parsing import parse

        module, (config, _) = importlib.import_module(self.module), self.load()
        settings: dict[str, Any] = {}
        if self.start:
            settings["default"] = getattr(module, self.start)(arguments)
        if self.examples and {"-h", "--help"} & set(arguments):
            shown = "\n".join(f"  textgym {name} {words}".rstrip() for words in self.examples)
            described = inspect.cleandoc(config.__doc__ or "").replace("``", "")
            settings["description"] = f"{described}\n\nExamples:\n{shown}"
        return parse(config, name, arguments, settings)


_TOY = "--env TextGym/Alphabet-v0 --policy 'scratch:gpt2?layers=2&width=32&heads=4'"
_GENERATE = (
    "--policy runs/ppo/policy --prompt 'The film was' --count 3",
    '--policy runs/ppo/policy --env TextGym/Sentiment-v0 --env-kwargs \'{"reward": "vader"}\'',
    "--policy smollm2 --prompts questions.txt --top-p 0.9",
    "--policy smollm2 --prompts prompts.txt --count 8 --out texts.jsonl",
)
_PPO = (
    f"{_TOY} --out runs/toy --num-envs 256 --ppo.iterations 60 --ppo.learning-rate 3e-3",
    '--env TextGym/Sentiment-v0 --env-kwargs \'{"reward": "vader"}\' --policy smollm2 --lora 16 '
    "--out runs/smollm2",
    "--env TextGym/Sentiment-v0 --policy runs/lm --out runs/ppo --preset trl --ppo.episodes 128",
)
_LABEL = (
    "runs/quickstart/preferences.sqlite",
    "texts.jsonl --annotators anna ben --answers 2",
    "postgresql://study@db/study --host 0.0.0.0 --urls https://label.example.org",
)
_COMPARE = (
    "runs/quickstart/language_model runs/quickstart/policy --env TextGym/Sentiment-v0 "
    "--store runs/people.sqlite",
)
_SIMULATE = ("'http://127.0.0.1:8765/#token=...' --truth vader --annotators average careless",)
_LOOP = (
    "--env TextGym/Sentiment-v0 --policy runs/quickstart/language_model --out runs/loop",
    f"{_TOY} --out runs/toy-loop --truth textgym.tasks.toys:alphabet_score "
    "--annotators average careful careless --votes ability --ppo.iterations 30",
)
_GRPO = (f"{_TOY} --out runs/grpo --num-envs 256 --grpo.group-size 8 --grpo.iterations 60",)
_RLOO = (f"{_TOY} --out runs/rloo --num-envs 256 --rloo.iterations 60",)
_REINFORCE = (f"{_TOY} --out runs/reinforce --num-envs 256 --reinforce.iterations 60",)
_BENCHMARK = (
    "--env TextGym/Alphabet-v0 --rewards distinct readability --agents best-of-n --seeds 3 "
    "--out runs/study",
    "--env TextGym/Alphabet-v0 --rewards distinct readability --agents ppo grpo "
    "--settings '{\"learning_rate\": 3e-3}' --out runs/study",
    "--env TextGym/Sentiment-v0 --policy runs/quickstart/language_model --rewards vader "
    "judge=runs/quickstart/reward_model --gold my_module:people --agents ppo --out runs/sentiment",
    "--study runs/study/study.json --out runs/again",
    "--standard sentiment --out runs/standard",
)
_REPORT = ("runs/study",)
_EVALUATE = (
    "--policies start=runs/lm ppo=runs/ppo/policy --env TextGym/Sentiment-v0 --rewards vader "
    "length",
    "--policies start=runs/lm ppo=runs/ppo/policy --env TextGym/Sentiment-v0 --human "
    "--out runs/side",
)
_DPO = (
    "--env TextGym/Continuation-v0 --policy smollm2 --lora 16 --data pairs.jsonl --out runs/dpo",
    "--env TextGym/Sentiment-v0 --policy runs/quickstart/language_model "
    "--data runs/quickstart/preferences.sqlite --out runs/dpo",
    f"{_TOY} --out runs/online --num-envs 256 --dpo.iterations 200 --dpo.learning-rate 1e-3 "
    "--dpo.epochs 4",
)

_COLLECT = (
    "--sources articles/ --out runs/raw.jsonl.gz --unit paragraph --licence CC-BY-4.0",
    "--sources posts.csv --column body --out runs/raw.jsonl",
)
_CLEAN = (
    "--corpus runs/raw.jsonl.gz --out runs/clean.jsonl --workers 2",
    "--corpus runs/raw.jsonl.gz --out runs/clean.jsonl "
    "--steps repair markup 'language?keep=en,de' near",
    "--list",
)
_SPLIT = ("--corpus runs/clean.jsonl --out runs/parts --by source",)
_CHECK = ("runs/parts/train.jsonl runs/parts/validation.jsonl runs/parts/test.jsonl",)
_TOKENIZER = (
    "--corpus runs/parts/train.jsonl --out runs/tokenizer",
    "--corpus articles/ --kind bpe --vocabulary 16384 --out runs/tokenizer",
)
_TOKENIZERS = (
    "--tokenizers runs/tokenizer smollm2 --corpus runs/parts/test.jsonl",
    "--tokenizers runs/tokenizer reviews-4096 --corpus runs/clean.jsonl --by language",
)
_SFT = (
    "--data runs/parts/train.jsonl --validation runs/parts/validation.jsonl --out runs/lm "
    "--tokenizer runs/tokenizer --eval-steps 100",
    "--data answers.jsonl --model runs/lm --out runs/taught --epochs 3",
    "--data chats.jsonl --model smollm2 --lora 16 --out runs/chat --eval-steps 50 --patience 3",
)
_ENVS = ("", "Sentiment", "TextGym/Alphabet-Edit-v0", "--installed")
_REWARDS = ("", "rouge", "clip", "my_module:my_reward")
_QUICKSTART = ("--smoke --out runs/smoke", "--out runs/quickstart --seed 1")
_BEST_OF_N = (
    "--proxy runs/reward --gold vader --data samples.jsonl --out runs/best",
    "--proxy runs/reward --gold vader --data prompts.jsonl --policy smollm2 --count 16 "
    "--out runs/best",
)
_CARD = (
    "--reward runs/reward --data runs/reward/held_out.jsonl --out runs/card",
    "--reward vader --data runs/quickstart/preferences.sqlite --out runs/vader",
    '--reward \'{"clip": {"reward": "vader", "low": 0}}\' --data pairs.jsonl --out runs/clipped',
)
_CURVE = (
    "--data reviews --models words lstm --sizes 250 500 1000 --out runs/curve",
    "--data pairs.jsonl --models words scratch --sizes 500 --noise 0 0.2 --out runs/noise",
)
_EXPORT_POLICY = (
    "--policy runs/ppo/checkpoints/checkpoint-30/policy --out runs/ppo-30",
    "--policy runs/smollm2/policy --out runs/smollm2-whole",
)
_EXPORT = ("--store runs/quickstart/preferences.sqlite --out answers.jsonl",)
_REWARD_TRAIN = (
    "--data reviews --out runs/sentiment",
    "--data pairs.jsonl --model runs/lm --learning-rate 1e-5 --out runs/reward",
    "--data runs/quickstart/preferences.sqlite --votes shares --out runs/reward",
)
_SCORE = (
    "--data texts.jsonl --rewards length vader",
    "--data answers.txt --rewards runs/reward --out scores.jsonl",
    '--data texts.csv --text-column answer --rewards \'{"clip": {"reward": "vader", "low": 0}}\'',
)
_RESCORE = ("--data episodes.jsonl --rewards vader runs/reward --out rescored.jsonl",)
_PLAY = (
    "--env TextGym/Alphabet-v0 --count 3",
    "--env TextGym/Corridor-v0 --hand",
    "--env TextGym/Sentiment-v0 --policy runs/ppo/policy --delay 0.1",
)
_CONTRACTS = (
    "TextGym/Alphabet-v0",
    'my_module:my_reward --columns \'{"reference": "a text"}\'',
    "my_module:MyTask",
    "my_module:make_env --kind env",
)
_ENSEMBLE = (
    "--members runs/rm-0 runs/rm-1 runs/rm-2 --data pairs.jsonl --out runs/ensemble",
    "--members runs/rm-0 runs/rm-1 --data pairs.jsonl --out runs/worst --how min",
)
_IMPORT = (
    "answers.csv runs/answers.sqlite",
    "votes.tsv runs/answers.sqlite "
    "--columns prompt=question,response_a=left,response_b=right,winner=verdict,annotator=rater",
)

# One line a command, sorted; a key of two words is a command of a group.
# fmt: off
COMMANDS: Mapping[str, Command] = {
    "benchmark": Command("textgym.cli.benchmark.command", "BenchmarkConfig", "benchmark", "compare rewards: one start, many rewards, agents and seeds", _BENCHMARK),  # noqa: E501
    "check": Command("textgym.cli.checks", "CheckConfig", "check_subject", "whether an environment, a reward or a task keeps its contract", _CONTRACTS),  # noqa: E501
    "compare": Command("textgym.cli.feedback.compare", "CompareConfig", "compare", "which of several policies people prefer, blind", _COMPARE),  # noqa: E501
    "data check": Command("textgym.cli.data.split", "CheckConfig", "check_data", "what one part of the data has of another", _CHECK),  # noqa: E501
    "data clean": Command("textgym.cli.data.clean", "CleanConfig", "clean_data", "a corpus through named steps, each of which counts what it did", _CLEAN),  # noqa: E501
    "data collect": Command("textgym.cli.data.collect", "CollectConfig", "collect_data", "texts of any kind and place as one corpus", _COLLECT),  # noqa: E501
    "data split": Command("textgym.cli.data.split", "SplitConfig", "split_data", "train, validation and test that know nothing of each other", _SPLIT),  # noqa: E501
    "envs": Command("textgym.cli.lists", "EnvsConfig", "list_envs", "list the environments, and the data that each needs", _ENVS),  # noqa: E501
    "evaluate": Command("textgym.cli.benchmark.evaluate", "EvaluateConfig", "evaluate", "policies side by side on fresh prompts", _EVALUATE),  # noqa: E501
    "export": Command("textgym.cli.policy.export", "ExportConfig", "export_policy", "a policy as one ordinary folder, which transformers opens", _EXPORT_POLICY),  # noqa: E501
    "generate": Command("textgym.cli.policy.generate", "GenerateConfig", "generate", "let a policy write: after prompts of yours, or an environment's", _GENERATE),  # noqa: E501
    "label": Command("textgym.cli.feedback.label", "LabelConfig", "label", "a page on which people compare texts, and a store of their answers", _LABEL),  # noqa: E501
    "loop": Command("textgym.cli.feedback.loop", "LoopConfig", "loop", "write, ask people, learn a reward, optimise, and again", _LOOP),  # noqa: E501
    "play": Command("textgym.cli.policy.play", "PlayConfig", "play", "watch an environment: at random, by a policy, or by hand", _PLAY),  # noqa: E501
    "quickstart": Command("textgym.cli.quickstart.command", "QuickstartConfig", "quickstart", "from raw text to an optimised policy and a report", _QUICKSTART),  # noqa: E501
    "report": Command("textgym.cli.benchmark.report", "ReportConfig", "report", "make a benchmark's page and tables anew from its cells", _REPORT),  # noqa: E501
    "rescore": Command("textgym.cli.reward.score", "RescoreConfig", "rescore_trajectories", "what recorded episodes are worth under other rewards", _RESCORE),  # noqa: E501
    "reward best-of-n": Command("textgym.cli.reward.best_of_n", "BestOfNConfig", "best_of_n_command", "what optimising one reward does to another", _BEST_OF_N),  # noqa: E501
    "reward card": Command("textgym.cli.reward.card", "RewardCardConfig", "reward_card", "what a reward is worth on labelled pairs, on one page", _CARD),  # noqa: E501
    "reward curve": Command("textgym.cli.reward.curve", "RewardCurveConfig", "reward_curve", "accuracy against the number of pairs, and their noise", _CURVE),  # noqa: E501
    "reward ensemble": Command("textgym.cli.reward.ensemble", "RewardEnsembleConfig", "make_ensemble", "several reward models as one", _ENSEMBLE),  # noqa: E501
    "reward export": Command("textgym.cli.reward.export", "RewardExportConfig", "export_reward_data", "a store's answers as a file for other trainers", _EXPORT),  # noqa: E501
    "reward import": Command("textgym.cli.reward.imports", "RewardImportConfig", "import_reward_data", "a file of people's answers as a store of them", _IMPORT),  # noqa: E501
    "reward train": Command("textgym.cli.reward.train", "RewardTrainConfig", "train_reward", "from preferences to a reward model, and what it is worth", _REWARD_TRAIN),  # noqa: E501
    "rewards": Command("textgym.cli.lists", "RewardsConfig", "list_rewards", "list the rewards that are known by name, or explain one", _REWARDS),  # noqa: E501
    "score": Command("textgym.cli.reward.score", "ScoreConfig", "score_texts", "what texts of a file are worth under rewards", _SCORE),  # noqa: E501
    "simulate": Command("textgym.cli.feedback.simulate", "SimulateConfig", "simulate", "let simulated annotators answer at a running page", _SIMULATE),  # noqa: E501
    "tokenizer evaluate": Command("textgym.cli.tokenizer.command", "EvaluateConfig", "evaluate_tokenizers", "what tokenizers make of the same texts, by language", _TOKENIZERS),  # noqa: E501
    "tokenizer train": Command("textgym.cli.tokenizer.command", "TrainConfig", "train_a_tokenizer", "a vocabulary of your texts, as transformers loads it", _TOKENIZER),  # noqa: E501
    "train dpo": Command("textgym.cli.policy.dpo", "DPOTraining", "train_dpo", "direct preference optimisation, from answers or by ranking its own texts", _DPO),  # noqa: E501
    "train grpo": Command("textgym.cli.policy.train", "GRPOTraining", "train_grpo", "several completions of a prompt against each other", _GRPO),  # noqa: E501
    "train ppo": Command("textgym.cli.policy.train", "PPOTraining", "train_ppo", "proximal policy optimisation, with a value function", _PPO, "start_from_preset"),  # noqa: E501
    "train reinforce": Command("textgym.cli.policy.train", "ReinforceTraining", "train_reinforce", "REINFORCE++, the batch's mean as the baseline", _REINFORCE),  # noqa: E501
    "train rloo": Command("textgym.cli.policy.train", "RLOOTraining", "train_rloo", "REINFORCE with a leave-one-out baseline", _RLOO),  # noqa: E501
    "train sft": Command("textgym.cli.policy.sft", "SFTTraining", "train_sft", "a language model of texts, completions or chats", _SFT, "start_from_model"),  # noqa: E501
}
"""Every command by its name."""
# fmt: on

GROUPS: Mapping[str, str] = {
    "data": "collect, clean and divide text of your own",
    "reward": "train, measure and compare rewards",
    "tokenizer": "train and measure vocabularies",
    "train": "train a policy with one of the algorithms",
}
"""What the commands of a group have in common; a group without commands is not shown."""

_GO_ON = (
    "benchmark",
    "compare",
    "loop",
    "quickstart",
    "reward curve",
    "reward train",
    "train sft",
)  # after a stop; training says it by itself
# Others make a folder.
_WRITE_FILES = ("data clean", "data collect", "generate", "rescore", "reward export", "score")
_SECONDS_FIRST = 3.0  # that the main process has, to fail alike
_READER_GONE = 141  # as of a command that the signal of a closed pipe ends
_LONGEST, _KEPT = 2000, 400  # letters of a message, and what stays of a longer one at either end
_USAGE = 2  # what a shell's own commands leave with, where their words are wrong
_EPILOG = "`textgym COMMAND --help` explains a command and each of its options."


def main() -> None:
    """Runs the ``textgym`` command; a foreseeable failure is one line, not a stack trace."""
    # A tokenizer's worker threads would fight over two cores.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Rewards and tasks may be in a file of the current folder, behind all that is installed.
    if "" not in sys.path:
        sys.path.append("")
    with lasting_streams() as (printed, _), stopped_by_signals():
        try:
            _run(printed)
        except ReaderGoneError:
            sys.exit(_READER_GONE)


def _run(printed: Any) -> None:
    """Runs a command by the words that it was called with.

    Args:
        printed: Standard output, which ends no command that makes something.
    """
    name = ""
    try:
        name, arguments = _split(sys.argv[1:])
        require_own_agents()
        command = COMMANDS[name]
        config = command.parse(name, arguments)
        out = getattr(config, "out", None)
        printed.goes_on = out is not None
        if out is not None:
            require_place(out, is_file=name in _WRITE_FILES)
        command.load()[1](config)
        printed.flush()
    except KeyboardInterrupt as stop:
        _leave(f"\nstopped{_after_a_stop(name, str(stop))}")
    except UsageError as error:
        sys.stderr.write(f"error: {_shortened(str(error))}\n")
        sys.exit(_USAGE)
    except CommandError as error:  # nothing is imported here, as memory may have run out
        _leave(f"error: {_shortened(str(error))}")
    except Exception as error:
        trouble = disk_trouble(error)
        if trouble and not isinstance(error, OSError):
            again = "; make room, and the same command goes on" if name in _GO_ON else "; make room"
            _leave(f"error: the disk is full or refuses: {trouble}{again}")
        if not isinstance(error, _foreseeable()):
            raise
        _leave(f"error: {_shortened(str(error))}")


def _leave(said: str) -> None:
    """Exits with a message; of several processes the main one's is enough, if it has one.

    Another one waits with its own: where the main one fails alike, a launcher ends it meanwhile.
    """
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        if said.startswith("\nstopped"):
            sys.exit(1)
        try:
            time.sleep(_SECONDS_FIRST)
        except KeyboardInterrupt:  # by which the launcher ends this one
            sys.exit(1)
        said = f"process {rank}: {said}"
    sys.exit(said)


def _shortened(said: str) -> str:
    """A message of which a word of the command made pages, its middle left out."""
    return said if len(said) <= _LONGEST else f"{said[:_KEPT]} ... {said[-_KEPT:]}"


def _split(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Finds the command's name; prints the list of commands and exits where there is none.

    Raises:
        UsageError: If there is no such command.
    """
    for words in (1, 2):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, arguments[words:]
    first = arguments[0] if arguments else ""
    group = first if any(name.startswith(f"{first} ") for name in COMMANDS) else ""
    rest = arguments[1:] if group else arguments
    if rest and not rest[0].startswith("-"):
        raise UsageError(_unknown(rest[0], group))
    _listing(group).parse_args(rest or ["--help"])
    raise AssertionError("the parser knows a command that the table does not")


def _after_a_stop(name: str, said: str) -> str:
    """What a stop's message says besides: what the command says, or whether it goes on."""
    said = said or ("the same command goes on from here" if name in _GO_ON else "")
    return f"; {said}" if said else ""


def _unknown(word: str, group: str) -> str:
    """What is wrong with a word that is no command, and which one may be meant."""
    known = _level(group)
    meant = [name for name in COMMANDS if name.endswith(f" {word}")]
    near = f" (did you mean textgym {meant[0]}?)" if meant else did_you_mean(word, known)
    near = near or f"; known: {', '.join(known)}"
    before = f"{group} " if group else ""
    return f"unknown command {before}{word}{near}; see textgym {before}--help"


def _listing(group: str) -> argparse.ArgumentParser:
    """Makes the parser of one level: it shows the level's help, and refuses unknown words."""
    import argparse

    described = "Text generation as a Gymnasium environment, and the loop around it."
    if group:
        described = f"{group}: {GROUPS[group]}."
    parser = argparse.ArgumentParser(
        prog=f"textgym {group}".strip(), description=described, epilog=_EPILOG
    )
    if not group:
        shown = f"textgym {importlib.metadata.version('textgym')}"
        parser.add_argument("--version", action="version", version=shown)
    entries = parser.add_subparsers(title="commands", required=True)
    for word, summary in _level(group).items():
        entries.add_parser(word, help=summary)
    return parser


def _level(group: str) -> dict[str, str]:
    """Each word that may come next, and what it means."""
    shown = {}
    for name, command in COMMANDS.items():
        first, _, second = name.partition(" ")
        if group:
            if first == group and second:
                shown[second] = command.summary
        else:
            shown[first] = GROUPS[first] if second else command.summary
    return dict(sorted(shown.items()))


def _foreseeable() -> tuple[type[Exception], ...]:
    """What is one line, not a stack trace; imported when it is needed."""
    from reward_models.preferences import StoreError
    from textgym.rewards import RewardError

    return RewardError, StoreError, ModuleNotFoundError, OSError
