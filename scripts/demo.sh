#!/usr/bin/env bash
# Builds all programs in release mode and runs the demo; every argument goes to it:
#   --exit            end after the purchase, with status 0 only if every step was verified
#   --tour            go on with what may come after a purchase, and audit all stores
#   --data DIR        where the parties keep their data (default .openset)
#   --purchases N     make N purchases and report their times
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build() {
    cargo build --manifest-path "$here/Cargo.toml" --release --locked --workspace --bins
}

if [ -t 2 ]; then
    build
else
    echo "building in release mode (the first time takes some minutes)" >&2
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! build >"$log" 2>&1; then
        cat "$log" >&2
        echo "scripts/demo.sh: the build failed" >&2
        exit 1
    fi
    rm -f "$log"
    trap - EXIT
fi

# Cargo knows its target directory, whether from CARGO_TARGET_DIR, a configuration file or by default.
target=$(cargo metadata --manifest-path "$here/Cargo.toml" --no-deps --format-version 1 --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
exec "$target/release/openset" demo "$@"
