# The transactional service and the pages: one image, two commands. Also migrations and users (`fundwatch db`, `fundwatch user`).
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements/core.txt requirements/
COPY docker/locked.py docker/build.in docker/app.in docker/
# A mirror's address and its certificate come as build secrets: nothing of them stays in a layer.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    python docker/locked.py requirements/core.txt docker/build.in > build.txt \
 && python docker/locked.py requirements/core.txt docker/app.in > app.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r build.txt \
 && /opt/build/bin/pip wheel --no-cache-dir --require-hashes --no-deps --no-build-isolation -r app.txt -w /wheels
COPY . .
RUN /opt/build/bin/python -m hatchling build -t wheel -d /wheels \
 && python -m venv --without-pip /opt/fundwatch/venv \
 && /opt/build/bin/pip --python /opt/fundwatch/venv/bin/python install --no-cache-dir --no-index --no-deps /wheels/*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fundwatch-app" \
      org.opencontainers.image.description="Fundwatch: the transactional service and the pages" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# hadolint ignore=DL3008
RUN --mount=type=secret,id=apt_sources,target=/etc/apt/sources.list.d/debian.sources \
    --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/fundwatch --shell /usr/sbin/nologin fundwatch \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/fundwatch /var/lib/fundwatch/manifests /var/lib/fundwatch/models \
      /var/lib/fundwatch/reports
COPY --from=build /opt/fundwatch/venv /opt/fundwatch/venv
COPY docker/http_health.py /opt/fundwatch/bin/
# hadolint ignore=DL3064
ENV PATH=/opt/fundwatch/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FUNDWATCH_HOME=/var/lib/fundwatch \
    FUNDWATCH_SECRETS=/run/secrets
WORKDIR /var/lib/fundwatch
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-I", "/opt/fundwatch/bin/http_health.py", "8080", "/livez"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["python", "-m", "dashboard.serve", "--host", "0.0.0.0", "--port", "8080"]
