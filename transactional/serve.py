"""Run the service: `python -m transactional.serve --port N`, on loopback, one process = the one writer of money."""

from __future__ import annotations

import argparse
import gc

import uvicorn

from fundwatch.settings import load
from transactional.app import create_app
from transactional.hot_path import PostingProtocol

GC_THRESHOLDS = (50_000, 20, 20)


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; another one only inside a container")
    arguments = parser.parse_args()
    app = create_app(load())
    gc.freeze()  # requests leave no cycles: look at what was made since start, and seldom
    gc.set_threshold(*GC_THRESHOLDS)
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        loop="uvloop",
        http=PostingProtocol,
        workers=1,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
