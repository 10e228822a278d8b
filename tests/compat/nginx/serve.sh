#!/bin/sh
# nginx with some files. $1: a folder.
here=$(dirname "$0")
cd "$1" || exit 1
mkdir -p www scratch
yes '<p>a page that can be served in ranges</p>' | head -n 20 > www/page.html
seq -f 'line %g of a text that can be compressed' 20000 > www/large.txt
seq 1500000 | head -c 8388608 > www/large.bin
touch -d @1000000000 www/*
# without the lines of IPv6 where the kernel has none
[ -e /proc/net/if_inet6 ] && without='' || without='/::/d'
sed "$without" "$here/server.conf" > server.conf
exec nginx -e stderr -p "$1/" -c server.conf
