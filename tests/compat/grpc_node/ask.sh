#!/bin/sh
# @grpc/grpc-js as a client. $2: where the server is.
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
exec node "$(dirname "$0")/client.js" "$2"
