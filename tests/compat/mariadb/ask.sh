#!/bin/sh
# mariadb and PyMySQL against MariaDB, which speaks first. $1: a folder, $2: where it is.
set -u
here=$(dirname "$0")
cd "$1" || exit 1
export PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
to="--no-defaults --protocol=tcp --host=${2%:*} --port=${2#*:} --user=tester --password=secret"
seq 50000 | sed 's|.*|&,value number &|' > rows.csv
printf '\n-- mariadb\n'
mariadb $to --local-infile=1 --force -t -vv tests < "$here/queries.sql" 2>&1 | sed 's/([0-9.]* sec)//'
printf '\n-- mariadb, compressed\n'
mariadb $to --compress tests -e "SELECT COUNT(*), SUM(number) FROM numbers; SELECT LENGTH(REPEAT('large ', 2000000))"
printf '\n-- a wrong password\n'
mariadb $to --password=wrong tests -e 'SELECT 1' 2>&1 | sed "s/'tester'@'[^']*'/somebody/"
printf '\n-- PyMySQL\n'
python3 "$here/client.py" "${2%:*}" "${2#*:}"
