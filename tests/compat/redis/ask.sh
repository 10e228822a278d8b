#!/bin/sh
# redis-cli and redis-py against redis-server. $1: a folder, $2: where it is.
set -u
here=$(dirname "$0")
cd "$1" || exit 1
address=${2%:*} port=${2##*:}
address=${address#[} address=${address%]}
seq 3000000 | head -c 16777216 > large
say() { printf '\n-- %s\n' "$*"; }
cli() { redis-cli -h "$address" -p "$port" "$@" 2>&1; }
get() { say "$@"; cli "$@"; }

get FLUSHALL
get PING
get SET key 'a value with spaces'
get GET key
get GET missing
get INCRBY counter 41
get GET counter extra
get RPUSH list a b c d
get LRANGE list 0 -1
get -3 HGETALL nothing
get EVAL 'return {1, "two", {3}, redis.call("INCR", KEYS[1])}' 1 counter
say a transaction
printf 'MULTI\nSET one 1\nINCR one\nEXEC\nDISCARD\n' | cli
say a large value
cli -x SET large < large
cli STRLEN large
cli --raw GET large | head -c -1 | sha256sum
sha256sum < large
say ten thousand commands at once
seq 10000 | sed 's/.*/SET many:& value-&/' | cli --pipe
get DBSIZE
get GET many:9999
say many keys come back
cli --scan --pattern 'many:*' | sort | sha256sum
say blocked until somebody pushes
heard=$(mktemp)
cli BLPOP queue 20 > "$heard" &
blocked=$!
until cli CLIENT LIST | grep -q 'cmd=blpop'; do :; done
cli RPUSH queue pushed
wait $blocked
cat "$heard"
say subscribed until somebody publishes
# by itself, so that it is what is ended: it may not be there when the other family is asked
redis-cli -h "$address" -p "$port" SUBSCRIBE channel > "$heard" &
subscribed=$!
until [ "$(cli PUBSUB NUMSUB channel | tail -n 1)" = 1 ]; do :; done
cli PUBLISH channel 'heard by one'
until grep -q 'heard by one' "$heard"; do :; done
kill $subscribed
cat "$heard"
rm "$heard"
say closed by the server
# it says first how many it has closed: those that have just left may be among them
printf 'CLIENT KILL TYPE normal SKIPME no\nPING\n' | cli | grep -v '^[0-9]*$'
say redis-py
PYTHONPATH=$MINIMESH_KIT_PYTHON python3 "$here/client.py" "$address" "$port"
