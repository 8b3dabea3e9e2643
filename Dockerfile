# One image with all six programs; `command` says which of them a container runs. Works with and without BuildKit.

FROM debian:bookworm-slim AS manifests
COPY . /source
# The manifests with empty sources: all that the dependency layer below may depend on.
RUN mkdir /manifests \
    && cd /source \
    && find . \( -name Cargo.toml -o -name Cargo.lock -o -path './.cargo/*' \) -exec cp --parents -t /manifests {} + \
    && cd /manifests \
    && for manifest in crates/*/Cargo.toml bins/*/Cargo.toml tests/Cargo.toml; do \
           mkdir -p "${manifest%/*}/src" && : > "${manifest%/*}/src/lib.rs" || exit 1; \
       done \
    && for manifest in bins/*/Cargo.toml; do \
           echo 'fn main() {}' > "${manifest%/*}/src/main.rs" || exit 1; \
       done \
    && for bench in $(cd /source && ls crates/*/benches/*.rs); do \
           mkdir -p "${bench%/*}" && echo 'fn main() {}' > "$bench" || exit 1; \
       done

FROM rust:1.95-slim-bookworm AS builder
# `release` is built in minutes; `dist` (thin LTO, stripped) is smaller and takes several times as long.
ARG PROFILE=release
WORKDIR /source
# A layer of its own for the dependencies, built again only when a manifest or the lock file changes.
COPY --from=manifests /manifests /source
RUN cargo build --profile "$PROFILE" --locked --workspace --bins \
    && find bins crates tests -name '*.rs' -delete
COPY . /source
# Newer than the empty sources, or cargo would take what it built from those as up to date.
RUN find bins crates tests -name '*.rs' -exec touch {} + \
    && cargo build --profile "$PROFILE" --locked --workspace --bins \
    && mkdir /programs \
    && for name in openset openset-ca openset-issuer openset-gateway openset-merchant openset-cardholder; do \
           cp "target/$PROFILE/$name" /programs/ || exit 1; \
       done

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="OpenSET" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# Public roots, for calls to parties that are not in this compose project.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /programs/ /usr/local/bin/
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/openset/
# A volume mounted over one of these folders for the first time takes over its owner.
RUN groupadd --system --gid 10001 openset \
    && useradd --system --uid 10001 --gid openset --home-dir /var/lib/openset --shell /usr/sbin/nologin openset \
    && mkdir -p /etc/openset /var/lib/openset /trust \
                /setup/ca /setup/issuer /setup/gateway /setup/merchant /setup/cardholder /setup/demo \
    && chown -R openset:openset /etc/openset /var/lib/openset /trust /setup
USER openset
WORKDIR /var/lib/openset
