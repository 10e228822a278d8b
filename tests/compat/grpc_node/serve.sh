#!/bin/sh
# @grpc/grpc-js as a server.
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
exec node "$(dirname "$0")/server.js" 10000
