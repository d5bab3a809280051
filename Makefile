GO      ?= go
TAGS    := urfave_cli_no_docs
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
PACKAGES := ./...
# A number of runs: at the end of a time, Go 1.26 may take its own deadline for a failure (go.dev/issue/75804).
FUZZTIME ?= 5000x

.PHONY: all build test check unit race fuzz test-vm bench bench-vm test-long clean help needs

all: build

build: ## build ./cloudlet, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)" -o cloudlet .

test: needs check unit race fuzz ## what CI runs: check, tests, race detector, short fuzzing

needs: ## say what the tests use, and whether it is here
	@for tool in bash node npm git gcc; do \
		if command -v $$tool >/dev/null; then echo "found    $$tool"; \
		else echo "missing  $$tool (tests that need it say so and are skipped; Debian: apt-get install nodejs npm git gcc)"; fi; done

check: ## formatting, vet on both systems, staticcheck, tidy modules
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	$(GO) vet -tags $(TAGS) $(PACKAGES)
	GOOS=darwin $(GO) vet -tags $(TAGS) $(PACKAGES)
	$(GO) tool -modfile=tools.mod staticcheck -tags $(TAGS) $(PACKAGES)
	$(GO) mod tidy -diff

unit: ## all tests, in random order; the last lines are the runner's own
	$(GO) test -tags $(TAGS) -shuffle=on -count=1 -timeout 15m $(PACKAGES)

race: ## the tests of what runs side by side, under the race detector
	$(GO) test -tags $(TAGS) -race -short -count=1 -timeout 15m ./bus/... ./controller/... ./dea/... ./healthmgr/... ./router/... ./stager/... ./uaa/... ./warden/... ./internal/...

fuzz: ## every fuzz target for FUZZTIME
	@for pkg in $$($(GO) list $(PACKAGES)); do \
		for target in $$($(GO) test -tags $(TAGS) -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			$(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; done

test-vm: ## the containers' tests in virtual machines with pure cgroup v2; installs QEMU
	CGO_ENABLED=0 $(GO) test -c -tags $(TAGS) -o warden.test ./warden
	testdata/vm/run --timeout 900 ./warden.test -test.timeout 14m -test.run 'Full|Network|Escape'
	testdata/vm/run --timeout 900 --user ./warden.test -test.timeout 14m -test.run Rootless
	testdata/vm/run --timeout 900 --user --no-delegation ./warden.test -test.timeout 14m -test.run Rootless
	testdata/vm/run --timeout 900 testdata/vm/systemd ./warden.test -test.timeout 6m -test.run Scope

bench: build ## print the figures of speed on this machine
	CGO_ENABLED=0 $(GO) test -tags $(TAGS) -run '^$$' -bench . -benchtime 1s -timeout 30m $(PACKAGES)

bench-vm: ## containers beside crun, runc and bwrap, where installed, with pure cgroup v2
	CGO_ENABLED=0 $(GO) test -c -tags $(TAGS) -o warden.test ./warden
	testdata/vm/run --timeout 900 ./warden.test -test.run '^$$' -test.bench 'Life|FirstByte' -test.benchtime 30x

test-long: ## minutes-long loops and fuzzing
	CLOUDLET_TEST_LONG=1 $(MAKE) unit
	$(MAKE) fuzz FUZZTIME=200000x

clean: ## remove what the build made
	rm -f cloudlet vmc *.test

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12
