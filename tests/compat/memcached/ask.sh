#!/bin/sh
# memcached's text protocol as people type it, and pymemcache. $2: where it is.
set -u
export PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
address=${2%:*} port=${2##*:}
address=${address#[} address=${address%]}
say() { printf '\n-- %s\n' "$*"; }
say typed
printf 'flush_all\r\nset key 5 0 11\r\na text here\r\nget key missing\r\ngets nothing\r\nincr key 1\r\nmn\r\nms meta 4 T0\r\nmeta\r\nmg meta v f t\r\nwrong\r\nquit\r\n' |
    curl -sS -m 20 -N "telnet://$2"
say binary
# a no-op of the binary protocol, and its end
printf '\200\012\000\000\000\000\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\000\200\007\000\000\000\000\000\000\000\000\000\000\000\000\000\002\000\000\000\000\000\000\000\000' |
    curl -sS -m 20 -N "telnet://$2" | od -A d -t x1
say pymemcache
python3 "$(dirname "$0")/client.py" "$address" "$port"
