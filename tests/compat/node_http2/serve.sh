#!/bin/sh
# Node's http2 server, with prior knowledge.
exec node "$(dirname "$0")/server.js" 8080
