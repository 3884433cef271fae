"""The operator of the tests of this folder, which modules extend with what their tests need."""

from collections.abc import AsyncIterator

import pytest

from agentrun.kube.resources import PROFILES
from tests.unit.controller.operators import Operator, a_profile_object


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    built = Operator()
    built.api.put(PROFILES, a_profile_object())
    yield built
    built.close()
