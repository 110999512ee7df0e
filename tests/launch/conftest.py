"""Stand-ins for the programs that the launchers call."""

from pathlib import Path

import pytest

from tests.launch.scripts import StandIns


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    """A folder that comes first on the PATH of a script."""
    return StandIns(tmp_path / "programs")
