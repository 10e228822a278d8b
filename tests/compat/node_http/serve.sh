#!/bin/sh
# Node's http server.
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
exec node "$(dirname "$0")/../node_http/server.js" 8080
