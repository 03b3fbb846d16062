"""Accounts of their own for every test, so that nothing waits from another."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

numbers = itertools.count(1)


@pytest.fixture
def pair(server):
    """Two fresh accounts."""
    number = next(numbers)
    users = {f"romeo{number}": f"romeos-password-{number}", f"juliet{number}": f"juliets-password-{number}"}
    server.add_accounts(users)
    return list(users)
