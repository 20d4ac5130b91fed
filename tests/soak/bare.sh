#!/bin/sh
# ./dev test on a bare Debian 12 made by debootstrap: no compiler, no Python, no libraries there before.
#
# Copies the committed files only, so that nothing which git does not know can help. Needs root, and the network.
set -eu
dir=$2
root=$dir/root
[ "$(id -u)" -eq 0 ] || { echo "skipped: needs root for debootstrap and chroot"; exit 77; }
# The mounts below live in a mount namespace of their own: they end with this script, and nobody can remove through them.
if [ -z "${TENET_BARE_INSIDE:-}" ]; then
    TENET_BARE_INSIDE=1 exec unshare --mount --propagation private sh "$0" "$@"
fi
command -v debootstrap >/dev/null || { echo "skipped: debootstrap is not installed"; exit 77; }

# The first package source of this machine, in either of apt's two forms.
mirror=${DEBIAN_MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } } $1 == "URIs:" { print $2; exit }' || true)}
debootstrap --variant=minbase bookworm "$root" "${mirror:-http://deb.debian.org/debian}" >"$dir/debootstrap.log" 2>&1 ||
    { tail -n 5 "$dir/debootstrap.log"; echo "skipped: debootstrap could not make a root here"; exit 77; }
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
# How this machine reaches the network: its resolver, apt's own settings, proxies, certificates.
cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
cp -a /etc/apt/sources.list "$root/etc/apt/" 2>/dev/null || true
cp -a /etc/apt/sources.list.d/. "$root/etc/apt/sources.list.d/" 2>/dev/null || true
[ -d /usr/local/share/ca-certificates ] && cp -a /usr/local/share/ca-certificates "$root/usr/local/share/" || true
[ -f /etc/ssl/certs/ca-certificates.crt ] && { mkdir -p "$root/etc/ssl/certs"; cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"; } || true

for tool in gcc cc clang python3 make meson; do
    if chroot "$root" sh -c "command -v $tool" >/dev/null 2>&1; then echo "the bare root has $tool: it is not bare"; exit 1; fi
done
mkdir -p "$root/src/tenet"
git archive HEAD | tar -x -C "$root/src/tenet"
start=$(date +%s)
chroot "$root" /usr/bin/env HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c 'cd /src/tenet && ./dev test' >"$dir/dev-test.log" 2>&1 || { tail -n 60 "$dir/dev-test.log"; exit 1; }
grep -m 1 '^Setting up' "$dir/dev-test.log"
tail -n 1 "$dir/dev-test.log"
echo "set up, built and tested in $(($(date +%s) - start)) s"
echo "second call, nothing to install:"
chroot "$root" /usr/bin/env HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c 'cd /src/tenet && ./dev' >"$dir/dev.log" 2>&1 || { tail "$dir/dev.log"; exit 1; }
if grep -q '^Setting up' "$dir/dev.log"; then echo "it installed again"; exit 1; fi
chroot "$root" /src/tenet/build/tenet --version
