#!/bin/sh
# nginx with a certificate for each of two names, chosen by SNI, on 8443; one that wants its clients' on 8444. $1: a folder.
set -e
here=$(dirname "$0")
cd "$1"
mkdir -p www scratch
for name in one.example two.example client.example; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=$name" \
        -addext "subjectAltName=DNS:$name" -keyout $name.key -out $name.crt 2> /dev/null
done
cat one.example.crt two.example.crt > both.crt
seq 1500000 | head -c 8388608 > www/large.bin
# where it is, it looks for certificates
cp "$here/server.conf" server.conf
exec nginx -e stderr -p "$1/" -c server.conf
