"""Healthy or not: `python -I http_health.py PORT PATH` asks this container's own HTTP server; exit code 1 says no.

200 means healthy. Standard library only, no proxy, so that it costs little and depends on nothing.
"""

from __future__ import annotations

import http.client
import sys


def main(port: str, path: str) -> int:
    """0 when the answer is 200, else 1 with the reason on stderr."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=4)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"GET {path}: {error}\n")
        return 1
    finally:
        connection.close()
    if status != http.client.OK:
        sys.stderr.write(f"GET {path} answers {status}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
