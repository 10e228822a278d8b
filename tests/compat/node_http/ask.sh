#!/bin/sh
# Node's http client against Node's http server. $2: where it is.
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
exec node "$(dirname "$0")/client.js" "http://$2"
