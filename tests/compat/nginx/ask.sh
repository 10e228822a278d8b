#!/bin/sh
# curl against nginx. $1: a folder, $2: where nginx speaks HTTP/1, $3: where it speaks HTTP/2.
set -u
cd "$1" || exit 1
http1=http://$2 http2=http://$3
seq 20000 > sent.txt
say() { printf '\n-- %s\n' "$*"; }
# heads and bodies exactly as they come, chunks included
get() { say "$@"; curl -sS --raw -i -m 20 "$@"; printf '\n[exit %s]\n' $?; }
digest() { say "digest $*"; curl -sS -m 20 "$@" | sha256sum; }

get -0 "$http1/echo"
get -0 -H 'Connection: keep-alive' "$http1/echo"
get -0 "$http1/page.html"
get "$http1/page.html"
get "$http1/echo?a=%20b&c=d%2Fe" -A '' -H 'X-Seen: ümlaut'
get -I "$http1/page.html"
get -r 10-29 "$http1/page.html"
get -r 0-4,10-14 "$http1/missing.html"
get -z '2001-09-09 01:46:40 GMT' "$http1/page.html"
get "$http1/missing.html"
get -H 'Accept-Encoding: gzip' -o /dev/null -D - "$http1/large.txt"
digest -H 'Accept-Encoding: gzip' "$http1/large.txt"
digest --compressed "$http1/large.txt"
digest "$http1/large.txt"
digest "$http1/large.bin"
digest -0 "$http1/large.bin"
get "$http1/by-turns"
get "$http1/no-reason"
get "$http1/nothing"
get -L "$http1/moved"
get -X POST "$http1/page.html"
get -X BREW "$http1/echo"
get -X OPTIONS --request-target '*' "$http1/"
get -X POST -d 'a=1&b=2' "$http1/upload"
get -T sent.txt "$http1/upload"
get -H 'Transfer-Encoding: chunked' -T sent.txt "$http1/upload"
# more than nginx takes: it says so before the body comes
get -H 'Expect: 100-continue' --expect100-timeout 20 -T www/large.bin "$http1/upload"
get -H "X-Long: $(head -c 30000 /dev/zero | tr '\0' x)" "$http1/echo"
say connections of ten requests
curl -sS -m 20 -w '%{num_connects} %{http_version} %{http_code}\n' -o /dev/null "$http1/echo?[1-10]"

get --http2-prior-knowledge "$http2/echo" -H 'X-Seen: seen'
get --http2-prior-knowledge "$http2/page.html"
get --http2-prior-knowledge -I "$http2/page.html"
get --http2-prior-knowledge -r 10-29 "$http2/page.html"
get --http2-prior-knowledge "$http2/missing.html"
get --http2-prior-knowledge -T sent.txt "$http2/upload"
digest --http2-prior-knowledge "$http2/large.bin"
digest --http2-prior-knowledge --compressed "$http2/large.txt"
