#!/usr/bin/env bash
# Checks that the jose, pki and protocol crates neither depend on anything that does I/O nor reach for files, sockets,
# clocks or the environment themselves. Raw random sources and more clocks are refused by their clippy.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

crates=(jose pki protocol)
forbidden_dependencies='^(tokio|axum|hyper|reqwest|sqlx|mio|socket2)(-[a-z0-9-]+)? v'

# shellcheck disable=SC2016 # the single quotes hold Perl
# Prints file:line and the words found; a line that is nothing but a comment may name what is absent.
forbidden_sources() {
    find "crates/$1/src" -name '*.rs' -print0 | sort -z | xargs -0 perl -0777 -ne '
        s{^[ \t]*//.*$}{}mg;
        while (m{\bstd::(?:\{[^;]*?\b)?(?:net|fs|process|env|thread)\b
                |\b(?:SystemTime|Instant|OffsetDateTime|UtcDateTime)::now\b}gx) {
            my ($start, $found) = ($-[0], $&);
            my $line = 1 + (substr($_, 0, $start) =~ tr/\n//);
            $found =~ s/\s+/ /g;
            print "$ARGV:$line: $found\n";
        }'
}

failed=0
for crate in "${crates[@]}"; do
    tree=$(cargo tree --locked --package "openset-$crate" --edges normal --all-features --target all --prefix none)
    bad_dependencies=$(grep -E "$forbidden_dependencies" <<<"$tree" | sort -u || true)
    bad_sources=$(forbidden_sources "$crate")
    if [ -n "$bad_dependencies" ]; then
        printf 'openset-%s must not depend on:\n%s\n' "$crate" "$bad_dependencies" >&2
        failed=1
    fi
    if [ -n "$bad_sources" ]; then
        printf 'crates/%s is sans-IO; take time, randomness and data as arguments instead of:\n%s\n' \
            "$crate" "$bad_sources" >&2
        failed=1
    fi
    if [ -z "$bad_dependencies$bad_sources" ]; then
        echo "openset-$crate: $(sort -u <<<"${tree// (\*)/}" | wc -l) packages, none does I/O"
    fi
done
exit "$failed"
