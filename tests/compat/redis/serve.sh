#!/bin/sh
# $1: a folder.
exec redis-server --bind 0.0.0.0 --protected-mode no --save '' --dir "$1"
