#!/bin/sh
# Node's http2 client. $2: where the server is.
exec node "$(dirname "$0")/client.js" "http://$2"
