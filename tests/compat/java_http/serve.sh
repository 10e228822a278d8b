#!/bin/sh
# Node's http server, and Go's.
"$MINIMESH_KIT_GO/nethttp" server :8081 &
exec sh "$(dirname "$0")/../node_http/serve.sh" "$1"
