from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.embedded import Endpoints
from tests.protocol import scene, seams
from tests.protocol.exploring import FILLED, Explorer
from tests.protocol.stepping import Stepper
from tests.protocol.worlds import Worlds


@pytest.fixture(scope="module")
def _explorer(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """An explorer whose first world is the small desk of `scene`."""
    worlds, stepper = Worlds(module_databases, tmp_path_factory.mktemp("protocol")), Stepper(module_databases)
    made = Explorer(worlds, stepper)
    made.fill(FILLED, scene.fill, scene.BEFORE)
    yield made
    stepper.close()
    worlds.close()


@pytest.fixture
def explorer(_explorer: Explorer) -> Explorer:
    """That explorer, with the points at which it stops by default."""
    _explorer.stops = seams.CHANGES
    return _explorer
