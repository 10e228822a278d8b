#!/bin/sh
# $1: a folder.
exec redis-server --bind '*' '-::*' --protected-mode no --save '' --dir "$1"
