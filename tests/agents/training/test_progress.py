"""The bar says what it is told, and says nothing to a file."""

import io

import pytest
from rich.console import Console

from agents.training.progress import training_bar


def _draw(terminal, visible=True):
    """Two updates, at the tenth and the twentieth second, of a run that had 100 tokens before."""
    output, times = io.StringIO(), iter([0.0, 10.0, 20.0])
    console = Console(file=output, force_terminal=terminal, width=160, color_system=None)
    with training_bar(
        1000, start=100, console=console, visible=visible, clock=lambda: next(times)
    ) as bar:
        bar.update(400, {"reward": 0.25, "kl": 1.5, "entropy": 2.0})
        bar.progress.refresh()
        first = output.getvalue()
        bar.update(1000, {"reward": 0.5})
        bar.progress.refresh()
    return first, output.getvalue()[len(first) :]


def test_it_shows_tokens_their_speed_the_reward_and_the_kl():
    """300 tokens in 10 s are 30 a second, 900 in 20 s are 45: the 100 before do not count."""
    first, second = _draw(terminal=True)
    for shown in ("400/1,000 tokens", "30 tokens/s", "reward 0.25", "KL 1.5"):
        assert shown in first
    assert "entropy" not in first
    for shown in ("1,000/1,000 tokens", "45 tokens/s", "reward 0.5"):
        assert shown in second


@pytest.mark.parametrize(("terminal", "visible"), [(False, True), (True, False)])
def test_it_is_quiet_in_a_file_and_where_nobody_asked(terminal, visible):
    assert "".join(_draw(terminal, visible)).strip() == ""
