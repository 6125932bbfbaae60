from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from services.embedded import Endpoints
from tests.projections.desk import Desk, ModelsUnderTest


@pytest.fixture
def connect(databases: Endpoints) -> Callable[[], psycopg.Connection[Any]]:
    # As the pool of the log hands them out: no read model may rely on the shape of rows.
    return lambda: psycopg.connect(databases.log_dsn, row_factory=dict_row)


@pytest.fixture
def connection(connect: Callable[[], psycopg.Connection[Any]]) -> Iterator[psycopg.Connection[Any]]:
    with connect() as connection:
        yield connection


@pytest.fixture
def models(connection: psycopg.Connection[Any]) -> ModelsUnderTest:
    return ModelsUnderTest(connection)


@pytest.fixture
def desk() -> Desk:
    return Desk()
