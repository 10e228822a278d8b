#!/bin/sh
# The same nginx as in the case `nginx`. $1: a folder.
exec sh "$(dirname "$0")/../nginx/serve.sh" "$1"
