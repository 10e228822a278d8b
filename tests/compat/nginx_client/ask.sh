#!/bin/sh
# curl to an nginx in its own pod, which asks the other nginx. $1: a folder, $2: where the other one is.
set -u
here=$(dirname "$0")
cd "$1" || exit 1
seq 20000 > sent.txt
sed "s/UPSTREAM/$2/" "$here/client.conf" > client.conf
nginx -e stderr -p "$1/" -c client.conf &
nginx=$!
near=http://127.0.0.1:9080
until curl -s -o /dev/null "$near/echo"; do :; done
get() { printf '\n-- %s\n' "$*"; curl -sS --raw -i -m 20 "$@"; printf '\n[exit %s]\n' $?; }
digest() { printf '\n-- digest %s\n' "$*"; curl -sS -m 20 "$@" | sha256sum; }

for way in '' /kept /streamed; do
    get "$near$way/echo"
    get -I "$near$way/page.html"
    get -r 10-29 "$near$way/page.html"
    get "$near$way/missing.html"
    get "$near$way/no-reason"
    get "$near$way/nothing"
    get -T sent.txt "$near$way/upload"
    get -H 'Transfer-Encoding: chunked' -T sent.txt "$near$way/upload"
    digest "$near$way/large.bin"
    digest --compressed "$near$way/large.txt"
    digest -H 'Accept-Encoding: gzip' "$near$way/large.txt"
done
kill $nginx
