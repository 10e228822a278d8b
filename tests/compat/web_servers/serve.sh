#!/bin/sh
# Apache httpd on 8080 (HTTP/1, and HTTP/2 with prior knowledge), lighttpd on 8081 (the same). Apache refuses to be root, so it
# runs as user 1000 of a user namespace. $1: a folder.
here=$(dirname "$0")
cd "$1" || exit 1
mkdir -p www/cgi apache
yes '<p>a page that can be served in ranges</p>' | head -n 20 > www/page.html
echo '<a href="page.html">one</a> <a href="text.txt">two</a> <a href="missing.html">three</a>' > www/index.html
seq -f 'line %g of a text that can be compressed' 20000 > www/text.txt
seq 1500000 | head -c 8388608 > www/large.bin
touch -d @1000000000 www/*
cp "$here"/cgi/* www/cgi/
chmod +x www/cgi/*
export FOLDER="$1"
unshare --user --map-user=1000 --map-group=1000 apache2 -d "$1/apache" -f "$here/apache.conf" -D FOREGROUND &
exec lighttpd -D -f "$here/lighttpd.conf"
