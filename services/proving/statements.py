"""The statements of a proof. None has a parameter that says anything of a person."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import aiosql

SQL: Any = aiosql.from_str((files("services") / "sql/proving.sql").read_text(), "psycopg", mandatory_parameters=False)
