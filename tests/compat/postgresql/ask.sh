#!/bin/sh
# psql, pg_dump and pg8000 against PostgreSQL. $1: a folder, $2: where it is.
set -u
here=$(dirname "$0")
cd "$1" || exit 1
export PGPASSWORD=secret PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
address=${2%:*} port=${2#*:}
seq 50000 | sed 's|.*|&,value number &|' > rows.csv
for mode in disable require; do
    printf '\n-- psql, sslmode=%s\n' $mode
    psql "host=$address port=$port user=tester dbname=postgres sslmode=$mode" --no-psqlrc --echo-all --file "$here/queries.sql" 2>&1 | sed 's/process with PID [0-9]*/process/'
done
printf '\n-- pg_dump\n'
# without what says when and by whom it was made
pg_dump "host=$address port=$port user=tester dbname=postgres" --table numbers | grep -v '^\\\(un\)\?restrict' | sha256sum
printf '\n-- a wrong password\n'
PGPASSWORD=wrong psql "host=$address port=$port user=tester dbname=postgres sslmode=disable" -c 'SELECT 1' 2>&1 | sed 's/.*FATAL/FATAL/'
printf '\n-- pg8000\n'
python3 "$here/client.py" "$address" "$port"
