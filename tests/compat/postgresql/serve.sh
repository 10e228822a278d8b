#!/bin/sh
# PostgreSQL, with passwords and TLS of its own. It refuses to be root, so it runs as user 1000 of a user namespace. $1: a folder.
set -e
here=$(dirname "$0")
data=$1/postgresql
as_user() { unshare --user --map-user=1000 --map-group=1000 "$@"; }
echo secret > "$1/password"
as_user initdb --pgdata "$data" --username tester --auth scram-sha-256 --pwfile "$1/password" --no-locale --encoding UTF8 --no-sync
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=server \
    -keyout "$data/server.key" -out "$data/server.crt"
chmod 600 "$data/server.key"
exec unshare --user --map-user=1000 --map-group=1000 postgres -D "$data" -p 5432 -c listen_addresses='*' -c ssl=on \
    -c unix_socket_directories= -c fsync=off -c hba_file="$here/pg_hba.conf"
