# Airflow in an environment of its own on top of the jobs' image: DAGs call the project's command line there, nothing else.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm
ARG JOBS_IMAGE=fundwatch-jobs:0.1.0

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements/core.txt requirements/airflow.txt requirements/
COPY docker/locked.py docker/build.in docker/airflow.in docker/
# A mirror's address and its certificate come as build secrets: nothing of them stays in a layer.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    python docker/locked.py requirements/core.txt docker/build.in > build.txt \
 && python docker/locked.py requirements/airflow.txt docker/airflow.in > airflow.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r build.txt \
 && /opt/build/bin/pip wheel --no-cache-dir --require-hashes --no-deps --no-build-isolation -r airflow.txt -w /wheels \
 && python -m venv --without-pip /opt/airflow \
 && /opt/build/bin/pip --python /opt/airflow/bin/python install --no-cache-dir --no-index --no-deps /wheels/*.whl

FROM ${JOBS_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fundwatch-airflow" \
      org.opencontainers.image.description="Fundwatch: Airflow with the DAGs and the command line they call" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 0:0
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/airflow /var/lib/airflow/logs
COPY --from=build /opt/airflow /opt/airflow
COPY docker/airflow-api.sh docker/airflow-setup.sh /opt/fundwatch/bin/
COPY dags /opt/fundwatch/dags
COPY fundwatch/night.toml /opt/fundwatch/fundwatch/
ENV PATH=/opt/airflow/bin:$PATH \
    AIRFLOW_HOME=/var/lib/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/fundwatch/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False \
    FUNDWATCH_CLI=/opt/fundwatch/venv/bin/fundwatch
WORKDIR /var/lib/airflow
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=4 \
    CMD ["python", "-I", "/opt/fundwatch/bin/http_health.py", "8080", "/api/v2/monitor/health"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/opt/fundwatch/bin/airflow-api.sh"]
