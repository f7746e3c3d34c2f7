"""Fixtures of the agents' tests."""

import pytest

from agents.models.policy import TransformerPolicy
from tests.agents.toys import make_model


@pytest.fixture
def policy():
    return TransformerPolicy(make_model())
