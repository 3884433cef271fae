#!/bin/sh
# Serve a PostgreSQL with the database and the user `agentrun`, over TLS and with PGPASSWORD only.
# A container that starts again finds its data, as long as the pod lives.
set -eu
data=/var/lib/postgresql/data
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
if [ ! -e $data ]; then
  rm -rf $data.part
  printf %s "$PGPASSWORD" > /tmp/password
  initdb --pgdata=$data.part --username=agentrun --pwfile=/tmp/password --encoding=UTF8 \
    --locale=C.UTF-8 --auth-local=reject --auth-host=scram-sha-256 --no-sync
  echo 'hostssl all all all scram-sha-256' >> $data.part/pg_hba.conf
  echo 'CREATE DATABASE agentrun' | postgres --single -D $data.part postgres
  mv $data.part $data
fi
exec postgres -D $data -c jit=off -c listen_addresses='*' -c unix_socket_directories=/tmp \
  -c ssl=on -c ssl_cert_file=/tls/tls.crt -c ssl_key_file=/tls/tls.key
