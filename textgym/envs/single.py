"""One text at a time: ``TextEnv``, a thin shell over ``textgym.dynamics``.

The usual action, a token that is appended, goes by ``append_to_row`` without any array but the
text. Everything else goes through ``textgym.dynamics.moves`` with a state of one row.
"""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from textgym.dynamics.append import append_to_row
from textgym.dynamics.states import Row, observe, read_only
from textgym.envs.settings import RENDER_MODES, Settings
from textgym.envs.snapshots import Snapshot, require_fit
from textgym.envs.starts import read_row_options, restored_on_failure
from textgym.envs.view import WorldView, rendered, spans_of
from textgym.envs.world import build_world
from textgym.messages import shown
from textgym.types import Example, StopReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgym.envs.world import World
    from textgym.rendering.spans import Span

__all__ = ["RowMoves", "TextEnv"]


class TextEnv(WorldView, gym.Env[Any, Any]):
    """Write a text, by tokens, by choices or by edits; it is scored when it is finished.

    Description:
        An episode starts with the beginning-of-text id and a prompt. The text behind the prompt is
        the completion; when something is edited, it starts as a draft.

    Action space:
        ``action_kind="append"``: ``Discrete(V)``, the id of the next token; the end-of-text id is
        an action like any other.
        ``"choose"``: ``Discrete(K)``, the number of a candidate; number 0 ends the text, and the
        others are tokens or short phrases that a proposer proposes for the text so far.
        ``"edit"``: ``MultiDiscrete([T, V])``, a place, counted from the beginning of the prompt,
        and an id: replace, append at the end, delete (the padding id), insert (the beginning-of-
        text id doubles the token there), stop (the end-of-text id). See
        ``textgym.dynamics.edit.edit``. ``action_masks()`` says what is legal; by default an
        illegal action changes nothing and uses one of the allowance. An action outside the space
        raises.

    Observation space:
        ``Box(0, V-1, (T,), int64)``: prompt and completion, padded to the right, where T is
        ``prompt_tokens + completion_tokens``; with candidates, ``(T + K * L,)``, and ``layout``
        says where they are. With ``obs_mode="dict"``, ``tokens``, ``attention_mask`` and
        ``prompt_mask``, each ``(T,)`` int64, and ``candidates``, ``(K * L,)``.

    Rewards:
        The completion's score when it is finished, and 0 before. With ``dense=True`` each step pays
        what it adds to the score of the text so far, where the beginning counts as 0; the sum is
        the same score.

    Starting state:
        An example drawn uniformly from the split, or ``reset(options={"example_id": k})``, or
        ``reset(options={"prompt": text})``. A prompt longer than its room keeps its last tokens.

    Episode end:
        ``terminated`` at the end-of-text token, and when the room of ``completion_tokens`` or the
        allowance of ``max_actions``, which are part of the task, is used up;
        ``info["stop_reason"]`` says which. ``truncated`` is always False here; it belongs to an
        outside ``TimeLimit``.

    Info:
        Always ``example_id`` (-1 for a caller's own prompt) and ``prompt_length``. When the text
        is finished also: ``stop_reason`` (the number of a ``StopReason``), ``score``,
        ``completion_length`` (in tokens, a written end of text included) and, for a weighted list
        of rewards, ``reward_terms``. With ``emit_mask=True`` or constraints, always
        ``action_mask``, int8.

    Arguments:
        See ``textgym.envs.settings.Settings``.

    Version history:
        v0: the first.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
    }

    def __init__(self, **settings: Any) -> None:
        """Makes the environment; names are resolved and loaded at once.

        Args:
            **settings: The arguments of ``textgym.envs.settings.Settings``; ``task`` is required.

        Raises:
            TypeError: If there is an unknown argument.
            ValueError: If a name or choice is unknown; the message lists the known ones.
            ModuleNotFoundError: If a package is missing; the message says how to get it.
        """
        super().__init__(build_world(Settings.of(settings)))
        self._moves = RowMoves(self._world)
        self._take = self._moves.append if self._moves.appends else self._moves.move
        chosen = self._world.settings
        self._dense = chosen.dense
        # The usual step returns a copy of the tokens and has nothing else to do.
        self._plain = (
            self._moves.appends
            and chosen.obs_mode == "tokens"
            and not chosen.shows_mask
            and chosen.render_mode != "human"
        )
        self._row: Row | None = None
        self._example = Example(prompt="")
        self._example_id = -1
        self._score: float | None = None
        self._potential = 0.0
        self._previous: Row | None = None
        self.render_mode = self._world.settings.render_mode
        self.observation_space = self._world.observation_space()
        self.action_space = self._world.action_space()

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Seeds ``self.np_random``, by which examples and drafts are drawn.
            options: ``{"example_id": k}`` starts with that example and ``{"prompt": text}`` with a
                prompt of your own, for which the reward's columns are ``None``; neither draws an
                example. It is not changed.

        Returns:
            The observation and the info.

        Raises:
            ValueError: If an option is unknown or there is no such example.
        """
        given = read_row_options(options)
        seeded = self._np_random, self._np_random_seed
        super().reset(seed=seed)
        try:
            with restored_on_failure([self.np_random]):
                example, number = self._moves.choose(given, self.np_random)
                row = self._moves.begin(example, number, self.np_random)
        except BaseException:
            self._np_random, self._np_random_seed = seeded
            raise
        self._row, self._example, self._example_id = row, example, number
        self._previous, self._score, self._potential = None, None, 0.0
        info = {"example_id": number, "prompt_length": row.prompt_length}
        return (row.tokens.copy(), info) if self._plain else self._finish_call(row, info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one action.

        Args:
            action: An integer; for edits, two.

        Returns:
            The observation, the reward, whether the text is finished, False, and the info.

        Raises:
            ResetNeeded: If there is no episode, or it is over.
            ValueError: If the action is outside the space, or it is illegal and
                ``invalid_action="raise"``.
            RewardError: If the reward fails. The text has not changed then.
        """
        row = self._row
        if row is None or row.stop_reason:
            raise ResetNeeded("there is no running episode; call reset() before step()")
        after = self._take(row, action, self._example)
        reward = 0.0
        info: dict[str, Any] = {
            "example_id": self._example_id,
            "prompt_length": after.prompt_length,
        }
        if after.stop_reason or self._dense:
            reward, paid = self._pay(after)
            info |= paid
        self._previous, self._row = row, after
        if self._plain:
            return after.tokens.copy(), reward, after.is_finished, False, info
        observation, info = self._finish_call(after, info)
        return observation, reward, after.is_finished, False, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which actions are legal, bool; at least one is.

        ``(V,)`` for tokens, ``(K,)`` for candidates, and for edits ``(T + V,)``: the places, then
        the ids, as sb3-contrib wants them.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return self._moves.legal(self._require_row())

    def pair_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which edits are legal, ``(T, V)`` bool: each place with each id, exactly.

        ``action_masks()`` speaks of places and ids by themselves, and some of them do not go
        together.

        Raises:
            ResetNeeded: If there is no episode yet.
            ValueError: If no text is edited.
        """
        return self._moves.pairs(self._require_row())

    def text(self) -> tuple[str, str]:
        """Returns the prompt and the completion so far.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return self._example.prompt, self._completion(self._require_row())

    @property
    def authored(self) -> npt.NDArray[np.int64] | None:
        """1 where the agent wrote, ``(T,)``, not to be written; ``None`` where nobody replies.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return read_only(self._require_row().authored)

    def save_state(self) -> Snapshot:
        """Returns this moment of the episode, the generator's included, for ``restore_state``.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return Snapshot(
            row=self._require_row(),
            example=self._example,
            example_id=self._example_id,
            score=self._score,
            potential=self._potential,
            previous=self._previous,
            taken_from=self._kin(),
            generator=copy.deepcopy(self.np_random.bit_generator.state),
            seed=self._np_random_seed,
        )

    def restore_state(self, snapshot: Snapshot) -> None:
        """Goes back to a moment that was saved, of this environment or of one like it.

        Raises:
            TypeError: If it is no snapshot of a single text.
            ValueError: If it is of another world; the message says in what they differ.
        """
        require_fit(snapshot, Snapshot, self._kin())
        self.np_random.bit_generator.state = copy.deepcopy(snapshot.generator)
        self._np_random_seed = snapshot.seed
        self._row, self._previous = snapshot.row, snapshot.previous
        self._example, self._example_id = snapshot.example, snapshot.example_id
        self._score, self._potential = snapshot.score, snapshot.potential

    def render(self) -> Any:
        """Returns the text with its score.

        Returns:
            A string with mode ``"ansi"``, a picture ``(H, W, 3)`` uint8 with ``"rgb_array"``,
            ``None`` else. What the last edit changed is marked.
        """
        if self.render_mode in (None, "human"):
            return None
        return rendered(self._spans(), str(self.render_mode))

    def _require_row(self) -> Row:
        if self._row is None:
            raise ResetNeeded("there is no episode yet; call reset() first")
        return self._row

    def _completion(self, row: Row) -> str:
        if row.authored is None:
            return self._world.tokenizer.decode(row.tokens[row.prompt_length : row.length].tolist())
        return self._world.completions(row.state())[0]

    def _pay(self, row: Row) -> tuple[float, dict[str, Any]]:
        state = row.state()
        ids = self._world.ids_read(state)
        scores, terms = self._world.score([self._example], [self._completion(row)], ids)
        score = reward = float(scores[0])
        if self._dense:
            reward, self._potential = score - self._potential, score
        if not row.is_finished:
            return reward, {}
        self._score = score
        info: dict[str, Any] = {
            "stop_reason": row.stop_reason,
            "score": score,
            "completion_length": row.completion_length,
        }
        if terms:
            info["reward_terms"] = {name: float(values[0]) for name, values in terms.items()}
        return reward, info

    def _spans(self) -> list[Span]:
        state = self._require_row().state()
        previous = None if self._previous is None else self._previous.state()
        scores = np.array([np.nan if self._score is None else self._score])
        return spans_of(self._world, [self._example.prompt], previous, state, scores)[0]

    def _finish_call(self, row: Row, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self._world.settings.shows_mask:
            info["action_mask"] = self.action_masks().astype(np.int8)
        if self.render_mode == "human":
            sys.stdout.write(f"{rendered(self._spans(), 'ansi')}\n")
        observation = observe(row.state(), self._world.settings.obs_mode)
        if isinstance(observation, dict):
            return {key: value[0] for key, value in observation.items()}, info
        return observation[0], info


class RowMoves:
    """What can happen to the text of a ``TextEnv``."""

    def __init__(self, world: World) -> None:
        """Chooses the shortest way for the world's kind of action.

        Args:
            world: The world.
        """
        self._world, self._rules = world, world.rules
        self._moves = world.moves(world.rules)
        self._raises = world.settings.invalid_action == "raise"
        self._legal = world.rules.legal.tolist()
        self._sizes = world.action_sizes()
        self.appends = (
            world.settings.action_kind == "append"
            and self._moves.plain
            and not world.rules.converses
        )
        """Whether an action appends a token, and nothing else has to be done."""

    def choose(
        self, options: Mapping[str, Any], generator: np.random.Generator
    ) -> tuple[Example, int]:
        """Returns what a text starts with, as a caller wants it or drawn, and its number.

        Args:
            options: What ``read_row_options`` returns.
            generator: Draws an example, if none is asked for.

        Raises:
            TypeError: If an example is no integer or a prompt no text.
            ValueError: If there is no such example.
        """
        if "prompt" in options:
            return self._world.example_of(options["prompt"]), -1
        if "example_id" in options:
            number = self._world.example_id(options["example_id"])
        else:
            number = int(generator.integers(len(self._world.examples)))
        return self._world.examples[number], number

    def begin(self, example: Example, number: int, generator: np.random.Generator) -> Row:
        """Starts a text.

        Args:
            example: What it starts with.
            number: The example's number in the split; -1 for a caller's own prompt.
            generator: Draws its draft, if it has one.

        Raises:
            ValueError: If the prompt cannot be encoded.
        """
        if self.appends and number >= 0:
            tokens, length = self._world.prompts.row(number)
            return Row(tokens, length, length, 0, int(StopReason.RUNNING))
        laid = self._world.start([example], np.array([number]), [generator])
        return Row.of(self._moves.begin(laid))

    def legal(self, row: Row) -> npt.NDArray[np.bool_]:
        """Returns which actions are legal, ``(A,)`` bool; at least one is."""
        return self._moves.legal(row.state())[0]  # type: ignore[no-any-return] # a state's arrays are Any

    def pairs(self, row: Row) -> npt.NDArray[np.bool_]:
        """Returns which edits are legal, ``(T, V)`` bool; see ``Moves.pairs``."""
        return self._moves.pairs(row.state())[0]  # type: ignore[no-any-return] # a state's arrays are Any

    def append(self, row: Row, action: Any, example: Example) -> Row:  # noqa: ARG002 - as move
        """Appends a token, if ``appends``: the way of most steps, without other arrays.

        Args:
            row: An open text.
            action: A caller's action.
            example: What the text started with.

        Raises:
            ValueError: If the action is outside the space, or it is illegal and
                ``invalid_action="raise"``.
        """
        token = action if type(action) is int else _read_token(action)
        if not 0 <= token < len(self._legal):
            raise ValueError(f"action {token} is not in 0..{len(self._legal) - 1}")
        legal = self._legal[token]
        if not legal and self._raises:
            raise _illegal(token)
        return append_to_row(row, token, self._rules, legal=legal)

    def move(self, row: Row, action: Any, example: Example) -> Row:
        """Takes an action of any kind, and lets the other side reply; see ``append``."""
        array, state = self._read(action), row.state()
        if self._raises and not self._moves.permits(state, array)[0]:
            raise _illegal(action)
        after = self._moves(state, array)
        if self._rules.converses and after.stop_reason[0] == StopReason.END_OF_TEXT:
            after = self._moves.propose(self._world.answer(after, [example]))
        return Row.of(after)

    def _read(self, action: Any) -> npt.NDArray[np.int64]:
        size = len(self._sizes)
        array = _integers(action, size).astype(np.int64).reshape(1, size)
        if ((array < 0) | (array >= self._sizes)).any():
            last = " and ".join(f"0..{size - 1}" for size in self._sizes)
            raise ValueError(f"action {action} is not in {last}")
        return array if size > 1 else array[:, 0]


def _read_token(action: Any) -> int:
    return int(_integers(action, 1).reshape(()))


def _integers(action: Any, size: int) -> npt.NDArray[np.integer]:
    try:
        array = np.asarray(action)
    except ValueError:  # lists of different lengths
        array = np.zeros(0)
    if array.size != size or array.dtype.kind not in "iu":
        wanted = "one integer" if size == 1 else f"{size} integers"
        raise ValueError(f"an action is {wanted}, got {shown(action)}")
    return array


def _illegal(action: Any) -> ValueError:
    return ValueError(f"action {action} is illegal; action_masks() says which are legal")
