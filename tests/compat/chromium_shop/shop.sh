#!/bin/sh
# Chromium shops. $1: URL of the shop, $2: a folder.
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
exec node "$(dirname "$0")/shop.js" "$1" "$2"
