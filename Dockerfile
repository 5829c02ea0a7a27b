# syntax=docker/dockerfile:1

# Both stages are Debian 12, since a binary needs the C library it was linked with, or a newer one.
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# Downloads and compiled crates are cached beside the layers, so a second build compiles only what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin registry \
    && cp target/dist/registry /usr/local/bin/registry \
    && mkdir /data

# A C library, root certificates and a user; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="registry" \
      org.opencontainers.image.description="A model registry as one binary." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /usr/local/bin/registry /usr/local/bin/registry
COPY LICENSE /usr/share/doc/registry/LICENSE
# A new volume inherits the owner of this folder.
COPY --from=build --chown=65532:65532 /data /data
ENV CAIA_REGISTRY_HOST=0.0.0.0 \
    CAIA_REGISTRY_DB_PATH=/data/registry.db
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8001
# The command finds the server by the variables above. With HTTPS, set CAIA_REGISTRY_URL to a name of the certificate.
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["registry", "health"]
ENTRYPOINT ["registry"]
CMD ["serve"]
