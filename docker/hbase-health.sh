#!/usr/bin/env bash
# Healthy = HBase's Thrift server lists its tables, which takes the master and the region server too.
# One call "getTableNames" (framed, binary protocol) over bash's own sockets: the image has no other client.
set -euo pipefail

port=${1:?usage: hbase-health.sh PORT}
exec 3<>"/dev/tcp/127.0.0.1/${port}"
#      length 26    version, call  name's length    name         sequence    no arguments
printf '\0\0\0\x1a\x80\x01\0\x01\0\0\0\x0dgetTableNames\0\0\0\x01\0' >&3
# the answer: 4 bytes length, 80 01 00 02 (reply), the name with its length (17), sequence (4), 0f 0000 (field 0: the list)
answer=$(timeout 8 head -c 32 <&3 | od -An -v -tx1 | tr -d ' \n') || true
case ${answer:8} in
  800100020000000d6765745461626c654e616d6573000000010f0000) ;;
  *) echo "HBase does not list its tables: ${answer:-no answer}" >&2; exit 1 ;;
esac
