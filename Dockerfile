# The image as Docker builds it, for those who use Docker: a static program on an empty base, with the same files, user and names as
# `cargo xtask image` makes without Docker (docs/image.md; a test compares the two).
FROM rust:1-bookworm AS build
WORKDIR /minimesh
COPY . .
# --target keeps the flags away from build scripts
RUN target="$(uname -m)-unknown-linux-gnu" \
 && RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols" cargo build --locked --profile shipped --bin minimesh --target "$target" \
 && mkdir -p /image/etc /image/tmp && chmod 1777 /image/tmp \
 && cp "target/$target/shipped/minimesh" /image/minimesh \
 && for part in control-plane injector proxy; do ln -s minimesh "/image/minimesh-$part"; done \
 && printf 'root:x:0:0:root:/:/\nminimesh:x:2102:2102:minimesh:/:/\n' >/image/etc/passwd \
 && printf 'root:x:0:\nminimesh:x:2102:\n' >/image/etc/group

FROM scratch
COPY --from=build /image/ /
LABEL org.opencontainers.image.licenses="Apache-2.0" org.opencontainers.image.title="minimesh"
ENV PATH=/
USER 2102:2102
ENTRYPOINT ["/minimesh"]
