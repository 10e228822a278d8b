#!/bin/sh
# Says what a CGI program is told of a request.
printf 'Content-Type: text/plain\r\nX-Made-By: a program\r\nStatus: 203 Told\r\n\r\n'
printf '%s %s %s %s\n' "$REQUEST_METHOD" "$REQUEST_URI" "$SERVER_PROTOCOL" "${CONTENT_LENGTH:-no length}"
env | grep -E '^HTTP_' | grep -v -E '^HTTP_(L5D_CLIENT_ID|CONNECTION|KEEP_ALIVE)=' | sort
sha256sum
