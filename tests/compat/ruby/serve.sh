#!/bin/sh
# WEBrick on 8080, Puma on 8081.
here=$(dirname "$0")
ruby "$here/webrick.rb" 8080 &
exec puma --config "$here/puma.rb" --environment production
