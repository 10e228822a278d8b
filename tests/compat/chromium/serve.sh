#!/bin/sh
# A page that does what pages do.
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
exec node "$(dirname "$0")/server.js" 8080
