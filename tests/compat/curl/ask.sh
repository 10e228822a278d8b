#!/bin/sh
# curl against Node's http. $1: a folder, $2: where it is.
set -u
cd "$1" || exit 1
url=http://$2
seq 20000 > sent.txt
say() { printf '\n-- %.300s\n' "$*"; }
# heads and bodies exactly as they come, chunks included
get() { say "$@"; curl -sS --raw -i -m 20 "$@" 2>&1; printf '\n[exit %s]\n' $?; }
# a client of few words: what follows is sent as it is, and everything that comes back is shown
raw() { say "raw: $1"; printf "$1" | curl -sS -m 20 -N "telnet://${url#http://}" 2>&1; printf '\n[exit %s]\n' $?; }

get -0 "$url/echo"
get -0 "$url/chunked"
get -0 "$url/close"
get -0 -d 'a body' "$url/echo"
get "$url/echo?a=1&a=2#not-sent"
get --path-as-is "$url/../echo/./%7E"
get -H 'x-LOWER-upper: Kept' -H 'X-Twice: one' -H 'Y: between' -H 'X-Twice: two' -H 'X-Empty;' -H 'Accept:' "$url/echo"
get -H "$(printf 'X-Text: d\351j\340 vu')" "$url/echo"
get -H 'Host: somebody.example' "$url/echo"
get -H 'Cookie: a=1; b=2' -A 'Agent/1.0 (with; many) words' -e 'http://referrer.example/' "$url/echo"
get -X PROPFIND "$url/echo"
get -X OPTIONS --request-target '*' "$url"
get -d 'a=1' -d 'b=2' "$url/echo"
get -F 'field=value' -F 'file=@sent.txt;type=text/plain' -H 'Content-Type: multipart/form-data; boundary=x' "$url/echo?multipart" -o multipart.txt
get -T sent.txt "$url/echo"
get -T - "$url/echo" < sent.txt
get -T sent.txt -H 'Expect: 100-continue' "$url/echo"
get -T sent.txt -H 'Expect: 100-continue' -H 'Transfer-Encoding: chunked' "$url/echo"
get -T sent.txt -H 'Expect: 100-continue' --expect100-timeout 20 "$url/early"
get "$url/headers"
get -I "$url/headers"
get "$url/chunked"
get "$url/close"
get "$url/hints"
for code in 200 204 205 304 404 418 451 500 599; do get "$url/status?code=$code&reason=Reason%20$code"; done
get "$url/status?code=299&reason="
get "$url/abort"
get "$url/abort-chunked"
say a header of 60 000 bytes
curl -sS -m 20 -H "X-Long: $(head -c 60000 /dev/zero | tr '\0' x)" "$url/echo" | sha256sum
say a body of 10 000 000 bytes
curl -sS -m 20 "$url/bytes?n=10000000" | sha256sum
say connections of ten requests
curl -sS -m 20 -w '%{num_connects} %{http_version} %{http_code}\n' -o /dev/null "$url/echo?[1-10]"
say connections of ten requests that are not kept
curl -sS -m 20 -w '%{num_connects} %{http_version} %{http_code}\n' -o /dev/null -H 'Connection: close' "$url/echo?[1-10]"
say two at once, twenty times
curl -sS --no-progress-meter -m 20 -Z --parallel-max 2 -w '%{http_version} %{http_code} %{size_download}\n' -o /dev/null "$url/bytes?n=100000&[1-20]"

say 'websocket: a text that comes back, then a close that comes back'
key='Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
handshake="GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n$key\r\nSec-WebSocket-Version: 13\r\n\r\n"
raw "$handshake\201\205\000\000\000\000hello\210\202\000\000\000\000\003\350"
get -N -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H "$key" -H 'Sec-WebSocket-Version: 12' "$url/socket"

say CONNECT, and two requests inside of the tunnel
get -p -x "$url" http://inside.example/echo http://inside.example/chunked
get -p -x "$url" http://forbidden:1/path
say as a forward proxy
get -x "$url" 'http://elsewhere.example/echo'
