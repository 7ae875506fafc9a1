"""
Counts the lines that run, in every Python process of `make coverage`.

Python imports this by itself where the folder is in PYTHONPATH, which is among the little that
PassProxy lets its XML process inherit: so that process is counted as well. Nothing else imports it.
"""

from __future__ import annotations

import os
from pathlib import Path

import coverage

_ROOT = Path(__file__).resolve().parents[2]

os.environ.setdefault("COVERAGE_PROCESS_START", str(_ROOT / "pyproject.toml"))
os.environ.setdefault("COVERAGE_FILE", str(_ROOT / ".coverage"))
coverage.process_startup()
