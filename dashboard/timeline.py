"""One account's movements from the history store (HBase table `mv`), newest first."""

from __future__ import annotations
