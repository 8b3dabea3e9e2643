#!/usr/bin/env bash
# Checks that the jose, pki and protocol crates neither depend on anything that does I/O nor reach for files, sockets,
# clocks or the environment themselves. Raw random sources and more clocks are refused by their clippy.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

crates=(jose pki protocol)
forbidden_dependencies='^(tokio|axum|hyper|reqwest|sqlx|mio|socket2)(-[a-z0-9-]+)? v'
forbidden_sources='\bstd::(net|fs|process|env|thread)\b|\bstd::\{[^}]*\b(net|fs|process|env|thread)\b|\b(SystemTime|Instant|OffsetDateTime|UtcDateTime)::now'

failed=0
for crate in "${crates[@]}"; do
    tree=$(cargo tree --locked --package "openset-$crate" --edges normal --all-features --target all --prefix none)
    if found=$(grep -E "$forbidden_dependencies" <<<"$tree" | sort -u); then
        printf 'openset-%s must not depend on:\n%s\n' "$crate" "$found" >&2
        failed=1
    fi
    # Lines that are nothing but a comment may name what is absent.
    if found=$(grep -rnE --include='*.rs' "$forbidden_sources" "crates/$crate/src" | grep -vE '^[^:]+:[0-9]+:[[:space:]]*//'); then
        printf 'crates/%s is sans-IO; take time, randomness and data as arguments instead of:\n%s\n' "$crate" "$found" >&2
        failed=1
    fi
    [ "$failed" -eq 1 ] || echo "openset-$crate: $(sort -u <<<"${tree// (\*)/}" | wc -l) packages, none does I/O"
done
exit "$failed"
