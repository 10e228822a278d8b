#!/bin/sh
# PHP's own server on 8080, Node's http on 8081.
here=$(dirname "$0")
export NODE_PATH="$MINIMESH_KIT_NODE/node_modules"
node "$here/../node_http/server.js" 8081 &
PHP_CLI_SERVER_WORKERS=4 exec php -S 0.0.0.0:8080 "$here/router.php"
