#!/bin/sh
# What curl sees of proxies over HTTP/2. $3: where nginx speaks it.
curl -sS -i -m 20 --http2-prior-knowledge "http://$3/by-turns"
