# `make test` needs Go and PostgreSQL alone (scripts/with-postgres.sh finds or installs the latter).
# `make ci-extra` needs Node, PHP and Python too; `.ci/run` installs them.

GO ?= go
MODULES := . e2e examples/receivers/go

GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
GOLANGCI_LINT := $(CURDIR)/.bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

# The race detector needs cgo, so a C compiler.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

.PHONY: build test test-go e2e e2e-receivers ci-extra check-generated generate lint fmt vuln clean

build: ## the program, at ./tellhook
	$(GO) build -trimpath -o tellhook ./cmd/tellhook

test: ## every Go test, the PostgreSQL and end-to-end ones included
	scripts/with-postgres.sh $(MAKE) --no-print-directory test-go

# test-go wants TELLHOOK_TEST_DATABASE_URL in the environment. Every module is tested even after a
# failure. -count=1: the end-to-end tests drive a program that they build, which Go's test cache does not see.
test-go:
	@$(if $(RACE),,echo 'make test: no C compiler, so WITHOUT the race detector' >&2)
	@status=0; for module in $(MODULES); do \
		echo "== go test $(RACE) ./... in $$module"; \
		(cd $$module && $(GO) test $(RACE) -count=1 -timeout 7m ./...) || status=1; \
	done; exit $$status

e2e: ## the end-to-end tests alone
	scripts/with-postgres.sh sh -c 'cd e2e && $(GO) test $(RACE) -count=1 -timeout 7m ./...'

e2e-receivers: ## the example receivers in every language; needs Node, PHP and Python
	cd e2e && $(GO) test $(RACE) -count=1 -timeout 5m -tags receivers -run '^TestReceiver' -v ./...

check-generated: ## fails when a generated file is stale
	@before=$$(git status --porcelain; git --no-pager diff); \
	$(MAKE) --no-print-directory generate || exit 1; \
	if [ "$$before" != "$$(git status --porcelain; git --no-pager diff)" ]; then \
		git status --short; git --no-pager diff --stat; \
		echo 'generated files were stale: run make generate and commit what it changes' >&2; exit 1; \
	fi

ci-extra: e2e-receivers check-generated ## what .ci/run adds to test and lint

generate: ## schemas and reference docs, from the operation table
	$(GO) generate ./...

lint: $(GOLANGCI_LINT) ## the rules of the house: .golangci.yaml
	@status=0; for module in $(MODULES); do \
		echo "== golangci-lint run in $$module"; \
		(cd $$module && $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yaml ./...) || status=1; \
	done; exit $$status

fmt: $(GOLANGCI_LINT) ## gofumpt
	@for module in $(MODULES); do (cd $$module && $(GOLANGCI_LINT) fmt --config $(CURDIR)/.golangci.yaml) || exit 1; done

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/.bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv .bin/golangci-lint $@

vuln: ## known vulnerabilities; reads vuln.go.dev, so not in CI
	@for module in $(MODULES); do \
		(cd $$module && $(GO) run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) ./...) || exit 1; \
	done

clean:
	rm -rf .bin dist tellhook
