#!/bin/sh
# smtplib, and curl as a mailer. $1: a folder, $2: where the server is.
set -u
cd "$1" || exit 1
python3 "$(dirname "$0")/client.py" "${2%:*}" "${2##*:}" mail.crt
printf '\n-- curl\n'
seq -f 'line %g of a letter' 100000 > letter.txt
curl -sS -m 20 --ssl-reqd --cacert mail.crt --connect-to "::$2" smtp://server:25/client --mail-from me@client --mail-rcpt you@server \
    --mail-rcpt they@server -T letter.txt -v 2>&1 | grep '^< ' | tr -d '\r'
