#!/bin/sh
# grpc-go's interoperability server.
exec "$MINIMESH_KIT_GO/server" --port 10000
