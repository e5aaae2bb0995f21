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
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; another one only inside a container")
    arguments = parser.parse_args()
    settings = load()
    uvicorn.run(
        create_app(settings),
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        server_header=False,
        # who is behind the bank's proxy is believed only where there is one (FORWARDED_ALLOW_IPS, else loopback)
        proxy_headers=bool(settings.page_origin),
    )


if __name__ == "__main__":
    main()
