"""Files of trajectories: they give back what was put in, and lose no more than a broken end."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textgym.recording.trajectories import Trajectory, TrajectoryFile, read_trajectories


def example(**changes):
    values = {
        "prompt": "a\n\u2028",
        "completion": "\ud800 \x00 œ",
        "prompt_ids": (1, 3),
        "completion_ids": (4, 2),
        "actions": (4, 2),
        "rewards": (0.0, 1 / 3),
        "score": 1 / 3,
        "stop_reason": 1,
        "truncated": False,
        "example_id": 0,
    }
    return Trajectory(**{**values, **changes})


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompt=st.text(),
    completion=st.text(st.characters()),
    rewards=st.lists(st.floats(allow_nan=False), max_size=3),
    actions=st.lists(st.integers(0, 9), max_size=3)
    | st.lists(st.tuples(st.integers(), st.integers())),
    columns=st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.floats(0, 1))),
)
def test_a_file_gives_back_what_was_put_in(tmp_path, prompt, completion, rewards, actions, columns):
    """Any text, line separators and lone surrogates included, and any finite or infinite number."""
    path = tmp_path / "x"
    path.unlink(missing_ok=True)
    written = [
        example(),
        example(
            prompt=prompt,
            completion=completion,
            rewards=tuple(rewards),
            actions=tuple(actions),
            columns=columns,
        ),
    ]
    TrajectoryFile(path).append(written)
    assert written == read_trajectories(path)


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_an_unfinished_last_line_is_dropped_with_a_warning(tmp_path, cut):
    path = tmp_path / "x"
    TrajectoryFile(path).append([example(), example(seed=2)])
    content = path.read_bytes()
    path.write_bytes(content[: -cut - 1])
    with pytest.warns(UserWarning, match=r"x: dropped an unfinished last line of \d+ bytes"):
        assert read_trajectories(path) == [example()]
    # Continued, it loses the rest of the line, which would otherwise spoil the next one too.
    with pytest.warns(UserWarning, match="dropped an unfinished last line"):
        file = TrajectoryFile(path)
    file.append([example(seed=3)])
    assert read_trajectories(path) == [example(), example(seed=3)]


def test_a_last_line_that_lacks_only_its_end_is_whole(tmp_path):
    path = tmp_path / "x"
    TrajectoryFile(path).append([example(), example(seed=2)])
    path.write_bytes(path.read_bytes()[:-1])
    assert read_trajectories(path) == [example(), example(seed=2)]
    TrajectoryFile(path).append([example(seed=3)])
    assert read_trajectories(path) == [example(), example(seed=2), example(seed=3)]


@pytest.mark.parametrize("content", [b"notes\nthe last one", b"a line", b"\x00\xff", b"[1]\n{"])
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path, content):
    """Its last line was dropped, as if a crash had left it."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.txt"):
        TrajectoryFile(path)
    assert content == path.read_bytes()


def test_what_is_too_deep_is_no_trajectory(tmp_path):
    path = tmp_path / "deep"
    path.write_bytes(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(ValueError, match="line 1 is no trajectory"):
        read_trajectories(path)


def test_a_file_of_nothing_but_an_unfinished_line(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b'{"prompt": "a')
    with pytest.warns(UserWarning, match="dropped an unfinished last line of 13 bytes"):
        TrajectoryFile(path)
    assert read_trajectories(path) == []


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "a"}', '{"colour": 1}', ""])
def test_any_other_broken_line_is_an_error(tmp_path, line):
    """No crash leaves one: the file is another, or was changed."""
    path = tmp_path / "x"
    TrajectoryFile(path).append([example()])
    path.write_text(f"{path.read_text()}{line}\n{path.read_text()}")
    with pytest.raises(ValueError, match="x, line 2 is no trajectory of RecordTrajectories"):
        read_trajectories(path)
