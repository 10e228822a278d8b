#!/bin/sh
# curl to an HAProxy in its own pod, which asks the other one. $1: a folder, $2…: where the other one is.
set -u
here=$(dirname "$0")
cd "$1" || exit 1
seq 20000 > sent.txt
sed "s/ONE/$2/; s/TWO/$3/; s/INTRODUCED/$4/" "$here/client.cfg" > client.cfg
haproxy -db -f client.cfg &
haproxy=$!
ask() {
    until curl -s -o /dev/null --fail "http://127.0.0.1:$1/status?code=200"; do :; done
    printf '\n==== %s\n' "$3"
    # over HTTP/2 the fields of a name stay together, and not between others
    sh "$here/requests.sh" "http://127.0.0.1:$1" "$2" | if [ "$1" = 9083 ]; then grep -v '^x-twice: '; else cat; fi
}
ask 9080 all plain
ask 9081 few shared
ask 9082 few closing
# a torn answer of HTTP/2 is none for this HAProxy: it waits until its time-out
ask 9083 most 'HTTP/2'
ask 9084 few 'the PROXY protocol'
ask 9085 all 'the PROXY protocol, version 2'
kill $haproxy
