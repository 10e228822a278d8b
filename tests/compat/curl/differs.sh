#!/bin/sh
# What curl and Node's server see of a proxy. $2: where the server is.
set -u
url=http://$2
get() { printf '\n-- %s\n' "$*"; curl -sS --raw -i -m 20 "$@" 2>&1; printf '\n[exit %s]\n' $?; }

get "$url/who"
get -H 'l5d-client-id: spiffe://cluster.local/ns/test/sa/somebody-else' "$url/who"
get -H 'Connection: Upgrade, HTTP2-Settings' -H 'Upgrade: h2c' -H 'HTTP2-Settings: AAMAAABkAAQAAP__' "$url/who"
get "$url/hang-up"
get -H 'minimesh-error: no_route' "$url/who"
