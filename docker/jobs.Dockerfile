# The command line with Spark: its jars, HBase's client jars and our compiled Java. By itself it is the Spark Connect server.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements/core.txt requirements/
COPY docker/locked.py docker/build.in docker/jobs.in docker/
# A mirror's address and its certificate come as build secrets: nothing of them stays in a layer.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    python docker/locked.py requirements/core.txt docker/build.in > build.txt \
 && python docker/locked.py requirements/core.txt docker/jobs.in > jobs.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r build.txt \
 && /opt/build/bin/pip wheel --no-cache-dir --require-hashes --no-deps --no-build-isolation -r jobs.txt -w /wheels
COPY . .
RUN /opt/build/bin/python -m hatchling build -t wheel -d /wheels \
 && python -m venv --without-pip /opt/fundwatch/venv \
 && /opt/build/bin/pip --python /opt/fundwatch/venv/bin/python install --no-cache-dir --no-index --no-deps /wheels/*.whl
# hadolint ignore=DL3008
RUN --mount=type=secret,id=apt_sources,target=/etc/apt/sources.list.d/debian.sources \
    --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    apt-get update \
 && apt-get install -y --no-install-recommends maven openjdk-17-jdk-headless \
 && rm -rf /var/lib/apt/lists/* \
 && if [ -s /run/secrets/ca.pem ]; then install -m 0644 /run/secrets/ca.pem /usr/local/share/ca-certificates/mirror.crt; fi \
 && update-ca-certificates
# As `fundwatch setup` does it: jars by Maven, our Java by javac, both with the stamps that `up` looks at.
RUN --mount=type=secret,id=maven_settings,target=/root/.m2/settings.xml \
    FUNDWATCH_HOME=/tmp/home FUNDWATCH_CACHE=/opt/fundwatch/cache /opt/fundwatch/venv/bin/python -c \
      'from fundwatch.services.jars import set_up; from fundwatch.settings import load; set_up(load())' \
 && rm -f /opt/fundwatch/cache/*.log /opt/fundwatch/cache/setup.lock

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fundwatch-jobs" \
      org.opencontainers.image.description="Fundwatch: command line, Spark jobs and Spark Connect server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# hadolint ignore=DL3008
RUN --mount=type=secret,id=apt_sources,target=/etc/apt/sources.list.d/debian.sources \
    --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    apt-get update \
 && apt-get install -y --no-install-recommends \
      fonts-wqy-microhei libharfbuzz-subset0 libpango-1.0-0 libpangoft2-1.0-0 openjdk-17-jre-headless procps tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/fundwatch --shell /usr/sbin/nologin fundwatch \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/fundwatch \
 && for part in anchors lake landing log manifests models quarantine reports spark spark/conf spark/tmp world; do \
      install -d -o 10001 -g 10001 -m 0750 "/var/lib/fundwatch/${part}"; \
    done
COPY --from=build /opt/fundwatch /opt/fundwatch
COPY docker/http_health.py /opt/fundwatch/bin/
# hadolint ignore=DL3064
ENV PATH=/opt/fundwatch/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FUNDWATCH_HOME=/var/lib/fundwatch \
    FUNDWATCH_CACHE=/opt/fundwatch/cache \
    FUNDWATCH_SECRETS=/run/secrets
WORKDIR /var/lib/fundwatch
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=25s --start-period=90s --retries=3 \
    CMD ["python", "-m", "fundwatch.services.spark_foreground", "--check", "--port", "15002"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["python", "-m", "fundwatch.services.spark_foreground", "--port", "15002"]
