# HBase with its Thrift server in one JVM, as `fundwatch up` runs it: the same jars, Java, configuration and JVM options.
ARG DEBIAN_IMAGE=debian:12.13-slim

FROM ${DEBIAN_IMAGE} AS build
WORKDIR /src
# hadolint ignore=DL3008
RUN --mount=type=secret,id=apt_sources,target=/etc/apt/sources.list.d/debian.sources \
    --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    apt-get update \
 && apt-get install -y --no-install-recommends maven openjdk-17-jdk-headless \
 && rm -rf /var/lib/apt/lists/* \
 && if [ -s /run/secrets/ca.pem ]; then install -m 0644 /run/secrets/ca.pem /usr/local/share/ca-certificates/mirror.crt; fi \
 && update-ca-certificates
COPY hbase_schema/java java
RUN --mount=type=secret,id=maven_settings,target=/root/.m2/settings.xml \
    mvn -B -f java/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DoutputDirectory=/opt/hbase/lib -DincludeScope=runtime \
 && javac -cp '/opt/hbase/lib/*' -d /opt/hbase/classes java/*.java

FROM ${DEBIAN_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fundwatch-hbase" \
      org.opencontainers.image.description="Fundwatch: HBase and its Thrift server in one JVM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Hadoop asks the system for the user's name and fails without one: the uid has an entry in passwd.
# hadolint ignore=DL3008
RUN --mount=type=secret,id=apt_sources,target=/etc/apt/sources.list.d/debian.sources \
    --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    apt-get update \
 && apt-get install -y --no-install-recommends openjdk-17-jre-headless tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/hbase --shell /usr/sbin/nologin hbase \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/hbase
COPY --from=build /opt/hbase /opt/hbase
COPY fundwatch/services/hbase-site.xml fundwatch/services/hbase-jvm.options /opt/hbase/conf/
COPY fundwatch/services/hbase-log4j2.properties /opt/hbase/conf/log4j2.properties
COPY docker/hbase-start.sh docker/hbase-health.sh /opt/hbase/bin/
WORKDIR /var/lib/hbase
USER 10001:10001
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=6 \
    CMD ["/opt/hbase/bin/hbase-health.sh", "9090"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/opt/hbase/bin/hbase-start.sh", "/var/lib/hbase", "9090"]
