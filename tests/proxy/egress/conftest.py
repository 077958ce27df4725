"""The token services that some ways need."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.aws import FakeAws
from tests.fakes.token_service import FakeTokenService
from tests.proxy.egress.ways import GOOGLE_KEY, Services


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    keys = {"kid-0": GOOGLE_KEY.public_key()}
    tokens, aws = FakeTokenService(keys_by_id=keys), FakeAws()
    async with tokens, aws:
        yield Services(tokens, aws)
