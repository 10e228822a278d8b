#!/bin/sh
# Chromium loads it, and says what the page has become. $1: a folder, $2: where the server is.
set -u
# what it keeps of its own is under the folder too: no bus, no keyring, nobody's profile
export HOME="$1" XDG_CONFIG_HOME="$1/config" XDG_CACHE_HOME="$1/cache" DBUS_SESSION_BUS_ADDRESS=disabled:
page() {
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --disable-dev-shm-usage --user-data-dir="$(mktemp -d -p "$HOME")" \
        --timeout=120000 --dump-dom "http://$1" 2> /dev/null
}
page "$2/" | sed -n 's/^ *<li>\(.*\)<\/li>$/\1/p'
