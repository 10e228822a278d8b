#!/bin/sh
# memcached, which refuses to be root, so it runs as user 1000 of a user namespace.
exec unshare --user --map-user=1000 --map-group=1000 memcached --port=11211 --max-item-size=8m --memory-limit=256
