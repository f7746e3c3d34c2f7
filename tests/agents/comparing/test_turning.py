"""Gao et al.'s forms in the table of over-optimisation, from points that lie on them."""

import math

import pytest

from agents.comparing.turning import overoptimisation_table
from tests.agents.comparing.parts import cell, small

FORMS = {
    "ppo": lambda d, alpha, beta: d * (alpha - beta * math.log(d)),
    "best-of-n": lambda d, alpha, beta: d * (alpha - beta * d),
}


def fitted(tmp_path, agent, *coefficients, start=0.0):
    """The row of runs that follow the agent's form, a seed for each pair of coefficients."""
    study = small(seeds=len(coefficients), agents={"ppo": {"agent": "ppo"}})
    form = FORMS[agent]
    cells = []
    for seed, (alpha, beta) in enumerate(coefficients):
        points = [(0, 0.0, {"gold": start})]
        for d in (0.5, 1.0, 1.5, 3.0):
            points.append((len(points), d**2, {"gold": start + form(d, alpha, beta)}))
        cells.append(cell(tmp_path, "vowels", seed, points, study=study, agent=agent))
    (row,) = overoptimisation_table(study, cells).rows
    return row[-4:-1]


@pytest.mark.parametrize("agent", FORMS)
def test_each_agent_is_fitted_by_its_own_form(tmp_path, agent):
    """The other one's would give other coefficients, and explain less than everything."""
    assert fitted(tmp_path, agent, (2.0, 0.5), start=7.0) == ("+2.000", "+0.500", "1.00")


@pytest.mark.parametrize("agent", FORMS)
def test_a_fit_is_of_all_seeds_together(tmp_path, agent):
    """Least squares at the same distances: the coefficients' means, whichever seed is first."""
    alpha, beta, explained = fitted(tmp_path, agent, (1.0, 0.2), (3.0, 0.6), (2.0, 0.7))
    assert (alpha, beta) == ("+2.000", "+0.500")
    assert float(explained) < 1
