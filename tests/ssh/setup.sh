#!/usr/bin/env sh
# Provides an ssh server for the tests that reach this machine over ssh. Exits with 0 where there is one
# afterwards. Installs nothing that runs by itself: the tests start their own, on their own port and keys.
set -eu
PATH=$PATH:/usr/sbin:/sbin
if ! command -v sshd >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  # A package that starts a server for everybody would be a surprise on somebody's machine.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server
fi
command -v sshd
# Where it runs as root, it wants this folder to lock itself into.
if [ "$(id -u)" = 0 ]; then mkdir -p -m 755 /run/sshd; fi
