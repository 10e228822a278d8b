#!/bin/sh
# What is asked of Node's http through proxies that others wrote. $1: where the nearest of them is, $2: few, most (no torn
# answer), or all.
set -u
url=$1
say() { printf '\n-- %.300s\n' "$*"; }
get() { say "$@"; curl -sS --raw -i -m 20 "$@" 2>&1; printf '\n[exit %s]\n' $?; }
get "$url/echo?a=1"
get -d 'a=1&b=2' "$url/echo"
get "$url/headers"
get -0 "$url/echo"
get -H 'x-LOWER-upper: Kept' -H 'X-Twice: one' -H 'X-Twice: two' -H 'X-Empty;' "$url/echo"
[ "$2" != few ] || exit 0
get -I "$url/headers"
get -T sent.txt "$url/echo"
get -H 'Transfer-Encoding: chunked' -T sent.txt "$url/echo"
get -H 'Expect: 100-continue' --expect100-timeout 20 -T sent.txt "$url/echo"
get -H 'Expect: 100-continue' --expect100-timeout 20 -T sent.txt "$url/early"
get "$url/chunked"
get "$url/close"
get "$url/hints"
for code in 204 304 404 503; do get "$url/status?code=$code"; done
[ "$2" = most ] || get "$url/abort"
get "$url/hang-up"
get "$url/echo?after-them"
say a body of 10 000 000 bytes
curl -sS -m 20 "$url/bytes?n=10000000" | sha256sum
say connections of ten requests
curl -sS -m 20 -w '%{num_connects} %{http_version} %{http_code}\n' -o /dev/null "$url/echo?[1-10]"
say four at once, forty times
curl -sS --no-progress-meter -m 20 -Z --parallel-max 4 -w '%{http_version} %{http_code} %{size_download}\n' -o /dev/null "$url/bytes?n=100000&[1-40]"
