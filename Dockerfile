# Two stages: the first builds one static program, the second holds it, the
# public certificate authorities and nothing else. There is no shell in it.
FROM golang:1.26-bookworm AS build
WORKDIR /src
# Modules first: they change less often than the code, and this layer stays.
COPY go.mod go.sum ./
RUN go mod download && go mod verify
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/crossfade ./cmd/crossfade
# Folders that volumes are laid over, so that the volumes get their owner.
RUN mkdir -p /out/data /out/emulated /out/certificates

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/crossfade /crossfade
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /data
COPY --from=build --chown=65532:65532 --chmod=0700 /out/emulated /emulated
COPY --from=build --chown=65532:65532 --chmod=0700 /out/certificates /certificates
# A number, so that whoever runs it can see that it is not root.
USER 65532:65532
# 7443: gRPC. 7444: metrics and health. Both on loopback unless configured.
EXPOSE 7443 7444
ENTRYPOINT ["/crossfade"]
