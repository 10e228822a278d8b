#!/bin/sh
# OpenSSH's server with keys of its own, for the user who runs it. $1: a folder.
set -e
cd "$1"
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f host_key
ssh-keygen -q -t ed25519 -N '' -f client_key
seq 3000000 > large
cat > sshd_config <<CONF
Port 2222
HostKey $1/host_key
AuthorizedKeysFile $1/client_key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
CONF
exec "$(command -v sshd)" -D -e -f "$1/sshd_config"
