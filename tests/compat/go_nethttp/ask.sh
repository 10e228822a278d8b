#!/bin/sh
# $2: where the server is.
exec "$MINIMESH_KIT_GO/nethttp" client "http://$2"
