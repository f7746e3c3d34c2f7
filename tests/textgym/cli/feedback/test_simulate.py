"""``textgym simulate`` at a running ``textgym label``: over HTTP, to the last answer, on a server.

The store is PostgreSQL, by its URL, and ``textgym reward train`` reads it from there.
"""

import re

from reward_models.measuring.annotators import quality_report
from reward_models.preferences import Pair, PreferenceStore
from tests.commands import run_commands
from tests.postgres import running_server
from tests.programs import require_modules
from tests.running_page import labelling
from textgym.cli.reward.data import load_data

require_modules("starlette", "uvicorn", extra="feedback")
require_modules("httpx2", extra="judge")

PAIRS = 20


def test_stand_ins_answer_all_that_a_page_asks_and_their_truth_is_what_is_stored(tmp_path):
    """Three of them, each pair twice; longer texts are better, and the careful ones say so."""
    import numpy as np

    with running_server() as server:
        url = server.url()
        with PreferenceStore(url) as store:
            store.add_pairs(
                [
                    Pair(pair_id=str(n), prompt=f"p{n}", a="x " * (n % 2 * 400 + 50), b="x " * 250)
                    for n in range(PAIRS)
                ]
            )
        access = ("--access", str(tmp_path / "access.json"))
        with labelling(url, *access, "--answers", "2", "--annotator", "me") as (_, line):
            link = re.search(r"http://\S+#token=[\w-]+", line)[0]
            command = ("simulate", link, "--truth", "length", "--annotators", *["careful"] * 3)
            done, again, wrong = run_commands(
                command, command, ("simulate", link[:-8] + "A" * 8, *command[2:])
            )
        assert done.returncode == 0, done.stderr
        given = [int(number) for number in re.findall(r": (\d+) answers", done.stdout)]
        assert len(given) == 3
        with PreferenceStore(url) as store:
            answers = store.answers()
            report = quality_report(answers, np.random.default_rng(0), 50)
            assert sum(given) == len(answers)
            assert {a.pair_id for a in answers} == {str(n) for n in range(PAIRS)}
            first = {(a.pair_id, a.annotator) for a in answers}
            assert len(first) == 2 * PAIRS, "each pair is two people's, and no more"
            right = [(a.answer == "a") == (int(a.pair_id) % 2 == 1) for a in answers]
            assert sum(right) > 0.7 * len(right)
            assert report.everybody.seconds.value >= 0
        assert [": 0 answers" in row for row in again.stdout.splitlines() if "answers" in row] == (
            [True] * 3
        )
        assert wrong.returncode != 0
        assert "refuses (403)" in wrong.stderr
        assert len(wrong.stderr.strip().splitlines()) == 1
        data = load_data(url, held_out=0.25, seed=0)
        assert 0 < len(data.train) + len(data.held_out) <= PAIRS
