#!/bin/sh
# HAProxy in front of Node's http: HTTP/1.1 on 8080, HTTP/2 with prior knowledge on 8081, the PROXY protocol on 8082. $1: a folder.
here=$(dirname "$0")
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
node "$here/../node_http/server.js" 8090 &
exec haproxy -db -f "$here/server.cfg"
