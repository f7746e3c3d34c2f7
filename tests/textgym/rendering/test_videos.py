"""Gymnasium's recorder of videos on our pictures: what a user types to see an episode move."""

import subprocess

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo

pytest.importorskip("moviepy", reason="moviepy is not installed: textgym[video]")

A, B, C = 3, 4, 5
EOS = 2
# An append writes "bc" and ends; an edit deletes the first letter of the draft, and stops.
EPISODES = {
    "textgym:TextGym/Alphabet-v0": [B, C, EOS],
    "textgym:TextGym/Alphabet-Edit-v0": [(2, 0), (0, EOS)],
}


def frames_of(path, height, width):
    """The pictures of a video, ``(frames, H, W, 3)``.

    By ffmpeg alone: moviepy's reader leaves its pipes open where ffmpeg has ended before it.
    """
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [ffmpeg, "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("env_id", EPISODES)
def test_an_episode_becomes_a_video_of_its_pictures(env_id, tmp_path):
    """One picture for the beginning and one for each step; compression changes shades a little."""
    env = RecordVideo(
        gym.make(env_id, render_mode="rgb_array"),
        str(tmp_path / "videos"),
        episode_trigger=lambda episode: True,
        disable_logger=True,
    )
    alone = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=0), alone.reset(seed=0)
    pictures = [alone.render()]
    for action in EPISODES[env_id]:
        finished = env.step(action)[2]
        alone.step(action)
        pictures.append(alone.render())
    env.close()
    assert finished
    (video,) = (tmp_path / "videos").glob("*.mp4")
    frames = frames_of(video, *pictures[0].shape[:2])
    assert frames.shape == (len(pictures), *pictures[0].shape)
    changes = [
        np.abs(frame.astype(int) - picture).mean()
        for frame, picture in zip(frames, pictures, strict=True)
    ]
    assert max(changes) < 2
    # A picture is nearer to its own frame than to any other.
    for number, frame in enumerate(frames):
        distances = [np.abs(frame.astype(int) - picture).mean() for picture in pictures]
        assert int(np.argmin(distances)) == number
