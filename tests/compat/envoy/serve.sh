#!/bin/sh
# Envoy in front of Node's http, on 8080: HTTP/1.1 and HTTP/2 with prior knowledge. $1: a folder.
here=$(dirname "$0")
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
node "$here/../node_http/server.js" 8090 &
PYTHONPATH="$MINIMESH_KIT_PYTHON" exec python3 -m envoy._main --config-path "$here/server.yaml" --concurrency 1 --disable-hot-restart --log-level error
