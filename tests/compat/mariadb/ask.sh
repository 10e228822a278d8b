#!/bin/sh
# mariadb and PyMySQL against MariaDB, which speaks first. $1: a folder, $2: where it is.
set -u
here=$(dirname "$0")
cd "$1" || exit 1
export PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
address=${2%:*} port=${2##*:}
address=${address#[} address=${address%]}
to="--no-defaults --protocol=tcp --host=$address --port=$port --user=tester --password=secret"
seq 50000 | sed 's|.*|&,value number &|' > rows.csv
printf '\n-- mariadb\n'
mariadb $to --local-infile=1 --force -t -vv tests < "$here/queries.sql" 2>&1 | sed 's/([0-9.]* sec)//'
printf '\n-- mariadb, compressed\n'
mariadb $to --compress tests -e "SELECT COUNT(*), SUM(number) FROM numbers; SELECT LENGTH(REPEAT('large ', 2000000))"
printf '\n-- mariadb, with TLS of its own\n'
mariadb $to --ssl --ssl-ca=mariadb.crt tests -e "SHOW STATUS LIKE 'Ssl_version'; SELECT MD5(REPEAT('large ', 2000000)); SELECT COUNT(*) FROM numbers"
printf '\n-- a wrong password\n'
mariadb $to --password=wrong tests -e 'SELECT 1' 2>&1 | sed "s/'tester'@'[^']*'/somebody/"
printf '\n-- PyMySQL\n'
python3 "$here/client.py" "$address" "$port"
