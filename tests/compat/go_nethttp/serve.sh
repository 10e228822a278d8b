#!/bin/sh
exec "$MINIMESH_KIT_GO/nethttp" server :8080
