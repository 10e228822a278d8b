#!/bin/sh
# MariaDB with one user. $1: a folder.
set -e
data=$1/mariadb
mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$data" --auth-root-authentication-method=normal --skip-test-db > /dev/null
cat > "$1/users.sql" <<SQL
CREATE DATABASE IF NOT EXISTS tests;
CREATE USER IF NOT EXISTS tester IDENTIFIED BY 'secret';
GRANT ALL ON tests.* TO tester;
SQL
exec mariadbd --no-defaults --user="$(id -un)" --datadir="$data" --socket=mariadb.sock --port=3306 --bind-address=0.0.0.0 \
    --skip-name-resolve --init-file="$1/users.sql" --local-infile=1 --max-allowed-packet=64M --innodb-flush-log-at-trx-commit=0
