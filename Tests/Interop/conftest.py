"""Accounts of their own for every test, so that nothing waits from another."""

import itertools
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

NEEDED = {"GoSendxmpp": ["go-sendxmpp"], "Profanity": ["profanity", "tmux"]}
numbers = itertools.count(1)


@pytest.fixture
def pair(server):
    """Two fresh accounts."""
    number = next(numbers)
    users = {f"romeo{number}": f"romeos-password-{number}", f"juliet{number}": f"juliets-password-{number}"}
    server.add_accounts(users)
    return list(users)


@pytest.fixture(autouse=True)
def installed(request):
    """Skips what needs a program that is not here; scripts/test-venv installs them."""
    for name, programs in NEEDED.items():
        if name in request.node.name:
            for program in programs:
                if shutil.which(program) is None:
                    pytest.skip(f"{program} is not installed")
