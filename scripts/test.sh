#!/usr/bin/env bash
# Everything that must hold before a change is merged. Stops at the first section that fails and names it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

section=start
trap '[ $? -eq 0 ] || printf "\nscripts/test.sh: FAILED in section: %s\n" "$section" >&2' EXIT

begin() {
    section=$1
    printf '\n== %s\n' "$section"
}

# Tests start a private PostgreSQL; Debian keeps its server programs off the PATH.
find_postgres() {
    command -v initdb >/dev/null && return
    local bin
    for bin in /usr/lib/postgresql/*/bin; do
        if [ -x "$bin/initdb" ]; then
            export PATH="$PATH:$bin"
            return
        fi
    done
    echo "PostgreSQL's initdb was not found: the tests run on SQLite alone"
}

files_at_most_600_lines() {
    local file lines long=0
    while IFS= read -r -d '' file; do
        [ -f "$file" ] || continue
        lines=$(wc -l <"$file")
        if [ "$lines" -gt 600 ]; then
            echo "$file has $lines lines; the limit is 600: move its second subject into a file of its own" >&2
            long=1
        fi
    done < <(git ls-files -z --cached --others --exclude-standard -- '*.rs')
    [ "$long" -eq 0 ]
}

advisories() {
    if ! timeout 120 cargo deny fetch db >/dev/null 2>&1; then
        echo "advisories: NOT CHECKED, the RustSec advisory database is out of reach from here"
        return
    fi
    cargo deny --locked --offline check advisories
}

begin "format"
cargo fmt --all -- --check

begin "files of at most 600 lines"
files_at_most_600_lines

begin "sans-IO crates"
scripts/sans-io.sh

begin "clippy"
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

begin "tests"
find_postgres
python3 -c 'import jwcrypto' 2>/dev/null ||
    echo "Python's jwcrypto was not found (pip install jwcrypto): the tests against an outside JOSE library are left out"
python3 -c 'import pkilint' 2>/dev/null ||
    echo "Python's pkilint was not found (pip install pkilint): the linter's look at certificates is left out"
command -v openssl >/dev/null || echo "openssl was not found: the tests that compare with it are left out"
# The tests that cross services start the programs themselves, which `cargo test` alone does not build.
cargo build --workspace --bins --all-features --locked
cargo test --workspace --all-features --locked

begin "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --locked

begin "dependencies: bans, licences, sources, advisories"
if ! cargo deny --version >/dev/null 2>&1; then
    echo "cargo-deny is missing: cargo install cargo-deny --locked" >&2
    exit 1
fi
cargo deny --locked --log-level error check bans licenses sources
advisories

section=none
printf '\nscripts/test.sh: all sections passed\n'
