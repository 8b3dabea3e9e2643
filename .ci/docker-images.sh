#!/usr/bin/env bash
# Sees to it that the two base images of the Dockerfile are there. Where their registry is out of reach, stand-ins are
# made: Debian by debootstrap, and on top of it this machine's Rust toolchain with a C compiler, which is what the
# official slim image holds. They get this machine's certificate authorities, so that containers reach what it reaches.
# Needs root, a running engine, debootstrap and a Rust toolchain.
set -euo pipefail

debian=debian:bookworm-slim
rust=rust:1.95-slim-bookworm

present() {
    docker image inspect "$1" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$1" >/dev/null 2>&1
}

# Shows what a command prints only if it fails.
quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        return 1
    }
}

# import ROOT IMAGE [CHANGE...]
import() {
    local root=$1 image=$2 change changes=()
    shift 2
    for change in "$@"; do changes+=(--change "$change"); done
    tar --directory "$root" --create --numeric-owner . | docker import "${changes[@]}" - "$image" >/dev/null
    echo "made a stand-in for $image"
}

copy_toolchain() {
    local root=$1 sysroot host
    sysroot=$(rustc --print sysroot)
    host=$(rustc --version --verbose | sed -n 's/^host: //p')
    mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/rustlib" "$root/usr/local/cargo"
    # rustc finds its libraries relative to itself.
    cp "$sysroot/bin/cargo" "$sysroot/bin/rustc" "$root/usr/local/bin/"
    cp --no-dereference "$sysroot"/lib/lib*.so* "$root/usr/local/lib/"
    cp --recursive "$sysroot/lib/rustlib/$host" "$root/usr/local/lib/rustlib/"
}

if present "$debian" && present "$rust"; then
    echo "base images: present"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
mkdir "$root"

echo "making stand-ins for $debian and $rust (about a minute)"
quietly debootstrap --variant=minbase bookworm "$root"
rm -f "$root"/var/cache/apt/archives/*.deb
present "$debian" || import "$root" "$debian" 'CMD ["bash"]'

cp /etc/resolv.conf "$root/etc/resolv.conf"
DEBIAN_FRONTEND=noninteractive quietly chroot "$root" sh -c \
    'apt-get update && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev && apt-get clean'
rm -rf "${root:?}"/var/lib/apt/lists/* "$root/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
copy_toolchain "$root"
import "$root" "$rust" \
    'ENV CARGO_HOME=/usr/local/cargo' \
    'ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    'CMD ["bash"]'
