# make = generate, lint, test: what it does is what .ci/run does.

GO   ?= go
BUF  := $(GO) tool -modfile=tools/go.mod buf
LINT := $(GO) tool -modfile=tools/lint/go.mod golangci-lint

.PHONY: all
all: generate lint test

# The generated code, and docs/api-reference.md. The code stands beside the contract, so only *.pb.go goes. Never put
# "clean: true" into buf.gen.yaml: it would delete the contract.
.PHONY: generate
generate:
	find proto -name '*.pb.go' -delete
	$(BUF) generate

.PHONY: lint
lint:
	$(BUF) lint
	$(BUF) format --diff --exit-code
	$(LINT) run ./...

.PHONY: test
test:
	$(GO) vet ./...
	$(GO) test ./...

# format rewrites what gofmt and buf would write otherwise.
.PHONY: format
format:
	$(LINT) fmt
	$(BUF) format -w

.PHONY: build
build:
	CGO_ENABLED=0 $(GO) build -trimpath -o crossfade ./cmd/crossfade

# ci is everything that a change has to pass, in one go.
.PHONY: ci
ci:
	.ci/run

.PHONY: demo
demo:
	$(GO) run ./cmd/crossfade demo
