"""How an episode looks."""

from textgym.rendering import render_ansi


def test_the_prompt_is_dim_the_completion_bright_and_the_score_last():
    assert render_ansi("A", " b", None) == "\x1b[2mA\x1b[0m\x1b[1m b\x1b[0m"
    assert render_ansi("A", " b", -0.5) == "\x1b[2mA\x1b[0m\x1b[1m b\x1b[0m [-0.500]"


def test_a_text_cannot_command_the_terminal():
    """A sampled escape sequence could otherwise clear the screen or retitle the window."""
    frame = render_ansi("\x1b[2J", "\x07\r", None)
    assert frame == "\x1b[2m\\x1b[2J\x1b[0m\x1b[1m\\x07\\r\x1b[0m"


def test_letters_of_any_script_and_line_breaks_are_shown():
    assert render_ansi("é映", "\n🎬", None) == "\x1b[2mé映\x1b[0m\x1b[1m\n🎬\x1b[0m"
