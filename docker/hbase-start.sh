#!/usr/bin/env bash
# Become HBase: hbase-start.sh FOLDER PORT. Thrift listens on all addresses, everything else on loopback only.
# hbase-site.xml is the local service's own: Hadoop fills its ${folder} and ports from the JVM's properties.
set -euo pipefail

folder=${1:?usage: hbase-start.sh FOLDER PORT}
port=${2:?usage: hbase-start.sh FOLDER PORT}
root=${HBASE_ROOT:-/opt/hbase}

# After kill -9 the dead master's node would hold up the new one for 40 s; nothing in it is needed.
rm -rf "${folder:?}/zk"
exec java "-Dfolder=${folder}" "-Dthrift_port=${port}" -Dzookeeper_port=2181 "@${root}/conf/hbase-jvm.options" \
  -cp "${root}/conf:${root}/classes:${root}/lib/*" HBaseOne -b 0.0.0.0 -p "${port}" --infoport -1 -f
