"""Run the pages: `python -m dashboard.serve --port N`, on loopback."""

from __future__ import annotations

import argparse

import uvicorn

from dashboard.app import create_app
from fundwatch.settings import load


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(create_app(load()), host="127.0.0.1", port=arguments.port, log_level="warning", server_header=False)


if __name__ == "__main__":
    main()
