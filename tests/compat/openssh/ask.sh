#!/bin/sh
# scp, sftp and ssh against sshd, which speaks first. $1: a folder, $2: where it is.
set -u
cd "$1" || exit 1
address=${2%:*} port=${2#*:}
echo "[$address]:$port $(cut -d' ' -f1,2 host_key.pub)" > known_hosts
options="-q -F none -i client_key -o UserKnownHostsFile=known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes"
run() { ssh $options -p "$port" "$(id -un)@$address" "$@"; }

echo '-- scp there, and back'
scp $options -P "$port" large "$(id -un)@$address:$1/there"
scp $options -P "$port" "$(id -un)@$address:$1/there" back
cmp large there && cmp large back && echo the same bytes
echo '-- scp, the older protocol'
scp -O $options -P "$port" large "$(id -un)@$address:$1/there-again" && cmp large there-again && echo the same bytes
echo '-- sftp'
printf 'put large there-by-sftp\nget there-by-sftp back-by-sftp\n' | sftp $options -P "$port" -b - "$(id -un)@$address:$1" > /dev/null
cmp large back-by-sftp && echo the same bytes
echo '-- commands'
run 'echo out; echo err >&2; exit 3' 2>&1; echo "exit $?"
run 'cat | sha256sum' < large
run -tt 'tty > /dev/null && echo a terminal'
run 'kill -9 $$'; echo "exit $?"
echo '-- a forwarded port'
ssh $options -p "$port" -N -L 127.0.0.1:2223:127.0.0.1:2222 "$(id -un)@$address" &
forward=$!
until ssh-keyscan -p 2223 127.0.0.1 2>/dev/null | grep -q ed25519; do :; done
kill $forward
echo 'sshd spoke through it'
echo '-- a key that nobody knows'
ssh-keygen -q -t ed25519 -N '' -f other_key
ssh -q -F none -i other_key -o IdentitiesOnly=yes -o UserKnownHostsFile=known_hosts -o BatchMode=yes -p "$port" "$(id -un)@$address" true; echo "exit $?"
