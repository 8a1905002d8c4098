# docker build -t tuco . && docker run -p 8420:8420 -v tuco:/data tuco
# The operator's commands: docker exec CONTAINER tuco workspace list
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/tuco . \
	&& mkdir -m 700 /out/data /out/tmp

# Nothing but the program, and the certificates that mail servers are verified with.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/tuco /usr/bin/tuco
COPY --from=build --chown=65532:65532 /out/tmp /tmp
# A new volume takes over the owner and the mode of what lies here.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV PATH=/usr/bin TUCO_DATA=/data TUCO_LISTEN=0.0.0.0:8420
VOLUME /data
EXPOSE 8420
# The drain takes up to 30 s: let 'docker stop' wait longer than its 10.
STOPSIGNAL SIGTERM
# With TLS on: TUCO_URL=https://127.0.0.1:8420/livez for the health check.
HEALTHCHECK --interval=10s --timeout=6s --start-period=2m --retries=3 CMD ["/usr/bin/tuco", "healthcheck"]
ENTRYPOINT ["/usr/bin/tuco"]
CMD ["serve"]
