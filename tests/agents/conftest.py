"""Fixtures of the agents' tests."""

import pytest

from agents.policy import TransformerPolicy
from tests.agents.models import make_model


@pytest.fixture
def policy():
    return TransformerPolicy(make_model())
