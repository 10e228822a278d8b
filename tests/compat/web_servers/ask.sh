#!/bin/sh
# curl, wget and ab against Apache httpd and lighttpd. $1: a folder, $2: where Apache is, $3: where lighttpd is.
set -u
cd "$1" || exit 1
seq 20000 > sent.txt
seq 300000 > large.txt
say() { printf '\n-- %s\n' "$*"; }
# Apache names methods in an order by chance. It says in the first answer of each connection that it could do HTTP/2: that is about a connection, and stays within the pod
without_advertisement() { sed '/^Allow: /d; /^Upgrade: h2c/d; /^Connection: Upgrade\r*$/d; s/^Connection: Upgrade, /Connection: /'; }
# heads and bodies exactly as they come, chunks included
get() { say curl "$@"; curl -sS --raw -i -m 20 "$@" | without_advertisement; echo; }
# what a program answers, without its framing: that depends on how fast it was
told() { say curl, a program "$@"; curl -sS -m 20 -w '%{http_code} %{content_type}\n' "$@"; }
digest() { say curl, a digest "$@"; curl -sS -m 20 "$@" | sha256sum; }
# heads to standard error, bodies as a digest
fetch() { say wget "$@"; wget -q -S -T 20 -t 1 -O - "$@" 2> heads | sha256sum; sed 's/^  //' heads | without_advertisement; }
# counts, which depend on nothing else than what was answered (HTTP/1.0, kept or not)
bench() {
    say ab "$@"
    ab -q -s 20 "$@" 2>&1 | grep -E '^(Server Software|Document Length|Complete|Failed|Non-2xx|Keep-Alive|Total body|HTML transferred)'
}

for server in "apache http://$2" "lighttpd http://$3"; do
    url=${server#* }
    say "==== ${server% *}"
    get -0 "$url/page.html"
    get -0 -H 'Connection: keep-alive' "$url/page.html"
    digest -0 "$url/cgi/slow.sh"
    get "$url/page.html"
    get -I "$url/page.html"
    get -r 10-29,40-49 "$url/missing.html"
    get -r 10-29 "$url/page.html"
    get -z '2001-09-09 01:46:40 GMT' "$url/page.html"
    told "$url/cgi/echo.sh?a=%20b&c=d%2Fe" -A '' -H 'X-Twice: one' -H 'X-Twice: two'
    told -d 'a=1&b=2' "$url/cgi/echo.sh"
    told -T sent.txt "$url/cgi/echo.sh"
    told -T sent.txt -H 'Transfer-Encoding: chunked' "$url/cgi/echo.sh"
    told -T sent.txt -H 'Expect: 100-continue' --expect100-timeout 20 "$url/cgi/echo.sh"
    told -T large.txt -H 'Expect: 100-continue' --expect100-timeout 20 "$url/cgi/echo.sh"
    told "$url/cgi/headless.sh"
    digest "$url/cgi/slow.sh"
    get "$url/moved"
    get -X OPTIONS --request-target '*' "$url"
    get -X BREW "$url/page.html"
    get -H 'Accept-Encoding: gzip' -D - -o /dev/null "$url/text.txt"
    digest --compressed "$url/text.txt"
    digest "$url/large.bin"
    get -H "X-Long: $(head -c 30000 /dev/zero | tr '\0' x)" "$url/page.html"
    say connections of a hundred and twenty requests
    curl -sS -m 20 -w '%{num_connects} %{http_version} %{http_code}\n' -o /dev/null "$url/page.html?[1-120]" | sort | uniq -c
    get --http2-prior-knowledge "$url/page.html"
    told --http2-prior-knowledge -T sent.txt "$url/cgi/echo.sh"
    digest --http2-prior-knowledge "$url/large.bin"

    fetch "$url/page.html"
    fetch --spider "$url/page.html"
    fetch --header 'Range: bytes=100-' "$url/page.html"
    fetch --post-file sent.txt "$url/cgi/echo.sh"
    fetch --method PUT --body-file sent.txt "$url/cgi/echo.sh"
    fetch "$url/moved" "$url/missing.html" "$url/text.txt" "$url/cgi/slow.sh"
    fetch --compression=auto "$url/text.txt"
    fetch --no-http-keep-alive "$url/page.html"
    say wget, what was begun is continued
    head -c 1000000 www/large.bin > large.bin
    wget -q -T 20 -t 1 -c "$url/large.bin"
    sha256sum large.bin
    rm large.bin
    say wget, all that a page leads to
    wget -q -T 20 -t 1 -r -l 1 -nH -P "all-${server% *}" "$url/"
    echo "[exit $?]"
    (cd "all-${server% *}" && find . -type f | sort | xargs sha256sum)

    bench -k -n 95 -c 5 "$url/page.html"
    bench -n 100 -c 5 "$url/page.html"
    bench -k -n 100 -c 5 "$url/missing.html"
    bench -k -n 50 -c 5 -p sent.txt -T text/plain "$url/page.html"
    bench -k -i -n 50 -c 5 "$url/page.html"
    bench -k -n 20 -c 2 "$url/cgi/slow.sh"
done

get "http://$2/gone"
say curl, what came back of a request that is traced
# the mesh says who asks
curl -sS -m 20 -X TRACE -H 'X-Seen: yes' "http://$2/page.html" | grep -v -i '^l5d-client-id: '
