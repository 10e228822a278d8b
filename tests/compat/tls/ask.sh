#!/bin/sh
# curl and openssl against TLS that is nginx's own. $1: a folder, $2: where it chooses by name, $3: where it asks for a certificate.
set -u
cd "$1" || exit 1
say() { printf '\n-- %s\n' "$*"; }
# to $1, by the name in the URL
get() { to=$1; shift; say "$@"; curl -sS -i -m 20 --cacert both.crt --connect-to "::$to" "$@" 2>&1; printf '[exit %s]\n' $?; }
shake() {
    say s_client "$@"
    printf 'GET /who HTTP/1.0\r\nHost: one.example\r\n\r\n' | openssl s_client -connect "$where" -CAfile both.crt -ign_eof "$@" 2>&1 |
        grep -E '^(New|Reused), |^subject=|^Verify return code|^ALPN|^No ALPN|^one: |^two: |alert' | sed 's/^[0-9A-F]*:error/error/'
}

for name in one.example two.example; do
    for version in --tlsv1.3 '--tls-max 1.2'; do
        for http in --http1.1 --http2; do get "$2" $version $http "https://$name/who"; done
    done
done
get "$2" https://three.example/who
get "$2" --http1.1 https://one.example/who https://one.example/who
get "$2" --ciphers AES128-SHA --tls-max 1.2 https://one.example/who
# no TLS at all
get "$2" http://one.example/who
get "$3" --http1.1 https://one.example/
get "$3" --http1.1 --cert client.example.crt --key client.example.key https://one.example/
get "$3" --http1.1 --cert two.example.crt --key two.example.key https://one.example/
for http in --http1.1 --http2; do
    say a large body $http
    curl -sS -m 20 --cacert both.crt --connect-to "::$2" $http https://one.example/large.bin | sha256sum
done

where=$2
for version in -tls1_2 -tls1_3; do
    shake $version -servername one.example -sess_out session
    shake $version -servername one.example -sess_in session
    # a name that is another's
    shake $version -servername two.example -sess_in session
    shake $version -servername one.example -alpn http/1.1,other
    shake $version -noservername
done
