#!/bin/sh
# MariaDB with one user, and TLS of its own for those who want it. $1: a folder.
set -e
data=$1/mariadb
mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$data" --auth-root-authentication-method=normal --skip-test-db > /dev/null
cat > "$1/users.sql" <<SQL
CREATE DATABASE IF NOT EXISTS tests;
CREATE USER IF NOT EXISTS tester IDENTIFIED BY 'secret';
GRANT ALL ON tests.* TO tester;
SQL
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=server \
    -keyout "$1/mariadb.key" -out "$1/mariadb.crt" 2> /dev/null
exec mariadbd --no-defaults --user="$(id -un)" --datadir="$data" --socket=mariadb.sock --port=3306 --bind-address='*' \
    --skip-name-resolve --init-file="$1/users.sql" --local-infile=1 --max-allowed-packet=64M --innodb-flush-log-at-trx-commit=0 \
    --ssl-cert="$1/mariadb.crt" --ssl-key="$1/mariadb.key"
