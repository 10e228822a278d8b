#!/bin/sh
# aiosmtpd with a certificate of its own. $1: a folder.
set -e
export PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=server -addext subjectAltName=DNS:server \
    -keyout "$1/mail.key" -out "$1/mail.crt" 2> /dev/null
exec python3 "$(dirname "$0")/server.py" "$1/mail.crt" "$1/mail.key"
