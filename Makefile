# Token Relay. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
CACHE   := .cache/bin
LINT    := $(CACHE)/golangci-lint
# The version is part of the stamp's name, so that a new one is built.
LINT_VERSION := v2.15.0
# What each target of make fuzz gets: executions (1000000x) or a time (10s). AGREE is how
# many documents all parsers have to read alike there.
TIME    ?= 1000000x
AGREE   ?= 10000000

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "  %-12s %s\n", $$1, $$2}'

# The console's pages are built where Node is; without them the rest builds and runs.
# WEB=0 tests without the console, for machines that build it without Node.
WEB             ?= 1
CONSOLE         := admin/web
CONSOLE_SOURCES := $(shell find $(CONSOLE)/src $(CONSOLE)/public $(CONSOLE)/index.html $(CONSOLE)/vite.config.ts $(CONSOLE)/docs.plugin.ts $(CONSOLE)/tsconfig.json docs/site docs/config.md docs/errors.md docs/translation.md -type f 2>/dev/null)

.PHONY: web
web: ## the console's pages, where Node 20 or later is
	@if ! node -e 'process.exit(+process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null; then \
	  echo "no Node 20 or later here: admin is built without the console's pages"; \
	elif ! $(MAKE) --no-print-directory $(CONSOLE)/node_modules/.package-lock.json; then \
	  echo "the console's packages cannot be fetched: admin is built with the pages of the last build, if there are any"; \
	else $(MAKE) --no-print-directory $(CONSOLE)/dist/app/index.html; fi

$(CONSOLE)/node_modules/.package-lock.json: $(CONSOLE)/package.json $(CONSOLE)/package-lock.json
	@cd $(CONSOLE) && npm ci --no-audit --no-fund --no-update-notifier --loglevel=error && touch node_modules/.package-lock.json

# Types of what the APIs send and take, from the descriptions that the relay itself gives.
$(CONSOLE)/src/gen/operator.d.ts: $(CONSOLE)/node_modules/.package-lock.json $(shell find admin/api admin/report -name '*.go' -not -name '*_test.go')
	@$(GO) run ./admin/describe $(CONSOLE)/src/gen
	@cd $(CONSOLE) && npm run --silent gen

$(CONSOLE)/dist/app/index.html: $(CONSOLE)/src/gen/operator.d.ts $(CONSOLE_SOURCES)
	@cd $(CONSOLE) && npm run --silent build -- --logLevel warn

# What the console's tests need and Debian has; elsewhere one line says what to install.
.PHONY: web-tools
web-tools:
	@need=; node -e 'process.exit(+process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null || need="nodejs npm"; \
	[ -n "$${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null || need="$$need chromium"; \
	[ -n "$$need" ] || exit 0; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  for again in 1 2 3; do apt-get update -qq && apt-get install -y -qq --no-install-recommends $$need >/dev/null && exit 0; sleep 5; done; \
	  echo "Debian's packages $$need could not be installed: install them, or WEB=0 leaves the console out"; exit 1; \
	else echo "the console's tests need $$need (Node 20 or later; CHROMIUM names a browser); WEB=0 leaves the console out"; exit 1; fi

.PHONY: web-test
web-test: web-tools ## the console: unit tests, and a browser against the whole product (SPEC='part of a name')
	@$(MAKE) --no-print-directory build
	@test -f $(CONSOLE)/dist/app/index.html || { echo "the console was not built"; exit 1; }
	cd $(CONSOLE) && npx tsc && npx vitest run && npx playwright test $(if $(SPEC),-g '$(SPEC)',&& npx playwright test -c playwright.big.config.ts)

.PHONY: screenshots
screenshots: build ## pictures of every page in both schemes, to docs/images
	cd $(CONSOLE) && npx playwright test -c playwright.shots.config.ts

.PHONY: build
build: web ## bin/proxy, bin/admin, bin/mockllm (and the launcher)
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./proxy ./admin ./loadtest/mockllm
	@$(GO) build -trimpath -o bin/relay-run ./scripts/run

.PHONY: run
run: build ## start everything in the foreground, with Postgres and a demo key
	@exec bin/relay-run

# Packages whose goroutines meet in shared state, cheap enough to run twice.
RACE := ./proxy/live/... ./proxy/limit/... ./proxy/lease/... ./proxy/catalog/... ./proxy/claim/... ./proxy/feed/... ./proxy/journal/... ./proxy/ship/... ./shared/obs/...

# Packages that run the real programs: one after another, so that none measures
# another's load, and never from the test cache, which does not see the programs.
REAL := ./shared/apptest ./shared/apptest/attack ./shared/apptest/crash ./shared/apptest/fleet ./scripts/run ./admin
# These mostly wait: for package registries, beside all that starts no program, and for
# whole minutes, beside the race detector's runs.
SDK    := ./shared/apptest/sdk
LIMITS := ./shared/apptest/limits

.PHONY: test
test: check ## everything that must hold: shape, unit tests, race on the concurrent packages, the real programs
	@if [ -z "$${RECORDINGS:-}" ] && [ ! -d ../shared/recordings ]; then \
	  echo "no folder of recordings (RECORDINGS=DIR names one): the project's own cases are read instead"; fi
	@sdk=$$(mktemp) limits=$$(mktemp); trap 'rm -f "$$sdk" "$$limits"' EXIT; failed=0; \
	$(GO) test -count=1 -timeout 20m $(SDK) >"$$sdk" 2>&1 & first=$$!; \
	$(MAKE) --no-print-directory unit || failed=$$?; \
	$(GO) test -count=1 -timeout 10m $(LIMITS) >"$$limits" 2>&1 & second=$$!; \
	$(MAKE) --no-print-directory race-short fuzz-short || failed=$$?; \
	wait $$first || failed=$$?; wait $$second || failed=$$?; cat "$$sdk" "$$limits"; exit $$failed
	$(GO) test -count=1 -p 1 -timeout 15m $(REAL)
	@if [ "$(WEB)" = 0 ]; then echo "WEB=0: the console is not tested"; else $(MAKE) --no-print-directory web-test; fi
	@if [ -n "$$(git status --porcelain loadtest/k6 2>&1)" ] || git log -1 --name-only --format= | grep -q '^loadtest/k6/'; then \
	  $(MAKE) --no-print-directory load-test; else echo "loadtest/k6 has not changed: make load-test tests it"; fi

# The way of a request: what is on it, and the programs that it needs.
WAY := ./shared/apierr ./shared/apikey ./shared/catalogfile ./shared/config ./shared/embedpg ./shared/journalfile ./shared/ledger \
  ./shared/money ./shared/obs ./shared/peek ./shared/price ./shared/reqid ./shared/seal ./shared/store ./shared/usage \
  ./proxy ./proxy/admit ./proxy/auth ./proxy/catalog ./proxy/feed ./proxy/field ./proxy/journal ./proxy/lease/... ./proxy/live/... ./proxy/meter \
  ./proxy/protocol ./proxy/protocol/anthropic ./proxy/protocol/openai ./proxy/protocol/template ./proxy/protocol/walk ./proxy/refusal ./proxy/relay ./proxy/route \
  ./proxy/server ./proxy/settle ./proxy/ship ./proxy/sock ./proxy/sse ./proxy/tempo ./proxy/upstream ./loadtest/mockllm ./shared/apptest/mockllm
WAY_REAL := ./shared/apptest ./shared/apptest/crash ./scripts/run ./admin

.PHONY: test-way
test-way: ## the part of make test that a request's way needs, without the console: 8 minutes from a bare machine
	$(GO) test ./scripts/archtest
	$(GO) test -timeout 10m $(WAY)
	$(GO) test -count=1 -p 1 -timeout 10m $(WAY_REAL)

.PHONY: unit
unit: ## the tests that start no program of ours
	$(GO) test -timeout 10m $$($(GO) list ./... | grep -vxF "$$($(GO) list $(REAL) $(SDK) $(LIMITS))")

.PHONY: race-short
race-short: ## the tests of concurrent packages under the race detector
	$(GO) test -race -short -skip 'Kill|Flip|Torn|Crash|Disk' -timeout 10m $(RACE)

.PHONY: load-test
load-test: $(K6) ## the k6 module's own tests, and one short run of it
	cd loadtest/k6 && $(GO) vet ./... && $(GO) test ./...
	$(GO) run ./loadtest/run -k6 $(K6) smoke

.PHONY: check
check: ## formatting, vet and the shape of the repository (seconds)
	@unformatted=$$(gofmt -l $(wildcard proxy admin shared bench loadtest scripts)); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) test ./scripts/archtest
	$(GO) vet ./...

.PHONY: lint
lint: $(LINT)-$(LINT_VERSION) ## golangci-lint with .ci/golangci.yml, zero findings
	$(LINT)-$(LINT_VERSION) run -c .ci/golangci.yml ./...

$(LINT)-$(LINT_VERSION):
	@mkdir -p $(CACHE)
	GOBIN=$(abspath $(CACHE)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv $(LINT) $@

# How long make schemathesis tries random requests for each of the two documents.
FUZZ ?= 10m

.PHONY: schemathesis
schemathesis: ## requests made of the two OpenAPI documents, and FUZZ=10m of random ones each, against the real programs
	$(GO) test -count=1 -timeout 2h -v -run '^TestSchemathesis$$' $(SDK) -args -schemathesis=$(FUZZ)

.PHONY: race
race: ## all tests under the race detector
	$(GO) test -race -timeout 20m ./...

.PHONY: gen
gen: ## write generated files: docs/config.md, docs/errors.md, docs/translation.md, docs/matrix.md, docs/conformance.md, SQL code
	$(GO) generate ./shared/... ./proxy/... ./scripts/...

GENERATED := docs shared/store/db

.PHONY: gen-check
gen-check: ## generated files are what make gen writes (the pages are in make test too)
	@sum() { find $(GENERATED) -type f | LC_ALL=C sort | xargs sha256sum; }; \
	before=$$(sum); $(MAKE) --no-print-directory gen; after=$$(sum); \
	if [ "$$before" != "$$after" ]; then echo "generated files were stale, make gen has written them:"; \
	diff <(echo "$$before") <(echo "$$after") || true; exit 1; fi

# What make prove does: 300 kills of proxies, 5 of Postgres, a minute without it. The
# longer proofs use the same program: make prove KILLS=1000, PGKILLS=100, OUTAGE=10m RATE=1000.
KILLS   ?= 300
PGKILLS ?= 5
OUTAGE  ?= 60s
RATE    ?= 0
SEED    ?= 1

.PHONY: prove
prove: ## kill, starve, revoke, reprice, upgrade under load; compare every request; PROOF.txt (minutes)
	$(GO) test -count=1 -timeout 60m -v -run '^TestProve$$' ./shared/apptest/crash -args -prove.kills=$(KILLS) \
	  -prove.pgkills=$(PGKILLS) -prove.outage=$(OUTAGE) -prove.rate=$(RATE) -prove.seed=$(SEED) -prove.out=$(CURDIR)/PROOF.txt

# Schedules of make simulate.
SCHEDULES ?= 1000000

.PHONY: simulate
simulate: ## SCHEDULES=1000000 schedules of kills, power losses and faults against a model of Postgres, from SEED
	$(GO) test -count=1 -timeout 12h -v -run '^TestSchedules$$' ./proxy/simtest -args -schedules=$(SCHEDULES) -seed=$(SEED)

# Usage rows of make test-big. Each million takes about 20 seconds to make and 0.55 GB of disk; the
# limit holds from 5,000,000 on.
ROWS ?= 50000000
PAGEROWS ?= 5000000

.PHONY: test-big
test-big: ## reports over ROWS=50000000 usage rows: every p95 below 100 ms, sums equal, CSV in constant memory
	ROWS=$(ROWS) $(GO) test -count=1 -timeout 6h -v -run '^TestReportsOverManyRows$$' ./admin/api
	$(MAKE) --no-print-directory console-big

.PHONY: console-big
console-big: build ## the console over PAGEROWS=5000000 calls: painted within a second, a press answered within 100 ms
	cd $(CONSOLE) && ROWS=$(PAGEROWS) npx playwright test -c playwright.big.config.ts

.PHONY: bench
bench: ## Go benchmarks with allocation counts (BENCH=regexp)
	$(GO) test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem ./...

# Two builds of the benchmarks, run in turns: what was in between has met both.
BENCHSTAT := $(CACHE)/benchstat
$(BENCHSTAT):
	@mkdir -p $(CACHE)
	GOBIN=$(abspath $(CACHE)) $(GO) install golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

.PHONY: bench-compare
bench-compare: $(BENCHSTAT) ## benchmarks of REV= beside those of this tree, ten of each in turns (BENCH=regexp, PKG=./bench)
	@test -n "$(REV)" || { echo "REV= is the commit to compare with"; exit 1; }
	@dir=$$(mktemp -d); trap 'git worktree remove --force "$$dir/tree"; rm -rf "$$dir"' EXIT; \
	git worktree add -q --detach "$$dir/tree" "$(REV)"; pkg=$(or $(PKG),./bench); \
	(cd "$$dir/tree" && $(GO) test -c -o "$$dir/old.test" $$pkg); $(GO) test -c -o "$$dir/new.test" $$pkg; \
	for i in 1 2 3 4 5 6 7 8 9 10; do for side in old new; do \
	  (cd $$pkg && "$$dir/$$side.test" -test.run '^$$' -test.bench '$(or $(BENCH),Buffered|Stream64|Prompt64K|Translated64)' -test.benchmem >>"$$dir/$$side.txt"); done; done; \
	$(BENCHSTAT) "$$dir/old.txt" "$$dir/new.txt"

.PHONY: scale
scale: ## what a request costs as models, keys, wallets, upstreams and open streams grow tenfold (minutes)
	RELAY_SCALE=1 $(GO) test -run '^$$' -bench Scale -benchtime 3000x -timeout 30m ./bench

.PHONY: attack
attack: ## 15,000 half-sent heads, 1,000 stalled readers, a spray of keys, bombs, while good traffic runs
	RELAY_LONG=1 $(GO) test -count=1 -timeout 30m -v -run '^TestAttacks$$' ./shared/apptest/attack

.PHONY: pgo
pgo: ## a profile of the proxy under load for the compiler, proxy/default.pgo; later builds use it (and take minutes)
	$(GO) run ./bench/sidebyside -rounds 1 -loads 2000,full,paced,flood -targets relay -profile .cache/pgo $(ARGS) >/dev/null
	$(GO) tool pprof -proto .cache/pgo/*.pprof >proxy/default.pgo

# How long make soak runs.
SPAN ?= 30m

.PHONY: soak
soak: ## a load that keeps the machine busy for 70 % of SPAN=30m: memory, goroutines and connections stay, the books are whole
	RELAY_SOAK=$(SPAN) $(GO) test -count=1 -timeout 24h -v -run '^TestSoak$$' ./shared/apptest/attack

.PHONY: sidebyside
sidebyside: ## the relay beside bare fasthttp, nginx and haproxy, one load, one table (25 minutes; ARGS=-quick)
	$(GO) run ./bench/sidebyside $(ARGS)

# k6 with the project's module for event streams: a Go module of its own, built on first use.
K6 := $(CACHE)/k6
$(K6): $(wildcard loadtest/k6/*.go loadtest/k6/sse/*.go) loadtest/k6/go.mod loadtest/k6/go.sum
	@mkdir -p $(CACHE)
	cd loadtest/k6 && $(GO) build -o $(abspath $@) .

.PHONY: flat
flat: ## p99 of requests while a catalogue of 1,000 models changes ten times a second, and while reports run (3 minutes)
	$(GO) run ./bench/sidebyside -flat $(ARGS)

.PHONY: load
load: $(K6) ## k6 scripts (SCRIPTS="smoke streams") against BASE_URL with KEY, or a relay of its own
	$(GO) run ./loadtest/run -k6 $(K6) $(SCRIPTS)

.PHONY: fuzz
fuzz: ## every fuzz target for TIME (1000000x) each, then AGREE documents that all parsers must read alike
	@$(GO) list ./... | while read -r pkg; do \
	  for f in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(TIME) -fuzzminimizetime 100x -timeout 0 "$$pkg"; \
	  done; \
	done
	AGREE=$(AGREE) $(GO) test -count=1 -run '^TestParserAgreement$$' -timeout 0 -v ./proxy/protocol

# What reads the bytes of strangers: parsers, and the translators between protocols.
EXPOSED := ./shared/peek ./shared/usage ./shared/apikey ./shared/catalogfile ./proxy/sse ./proxy/upstream ./proxy/protocol \
           ./proxy/protocol/walk ./proxy/protocol/chat ./proxy/protocol/openai ./proxy/protocol/anthropic ./proxy/protocol/gemini \
           ./proxy/protocol/dashscope ./proxy/protocol/responses ./proxy/protocol/media ./proxy/protocol/translate
EACH    ?= 10s

# Two at a time, each on one processor. A target that was stopped by the clock amid an
# execution is called failed by go test, with these words alone and no input.
.PHONY: fuzz-short
fuzz-short: ## every parser and translator, fuzzed for EACH=10s
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; mkdir -p .cache/fuzz; failed=0; \
	for pkg in $(EXPOSED); do \
	  $(GO) test -c -fuzz=. -o "$$dir/$$(tr / _ <<<"$$pkg").test" "$$pkg"; \
	  for f in $$("$$dir/$$(tr / _ <<<"$$pkg").test" -test.list '^Fuzz'); do echo "$$pkg $$f"; done; \
	done > "$$dir/targets"; \
	one() { cd "$$2"; out=$$("$$1/$$(tr / _ <<<"$$2").test" -test.run '^$$' -test.fuzz "^$$3\$$" -test.fuzztime $(EACH) -test.fuzzminimizetime 100x \
	    -test.parallel 1 -test.fuzzcachedir "$$4/.cache/fuzz/$$2" 2>&1) || \
	    { grep -q 'context deadline exceeded' <<<"$$out" && ! grep -q 'Failing input' <<<"$$out"; } || { echo "$$2 $$3:"; echo "$$out"; return 1; }; \
	  echo "$$2 $$3: $$(grep -o 'execs: [0-9]*' <<<"$$out" | tail -n 1)"; }; export -f one; \
	xargs -P 2 -L 1 bash -c 'one "$$@"' - "$$dir" < <(sed "s|$$| $$PWD|" "$$dir/targets") || failed=1; \
	exit $$failed

.PHONY: clean
clean: ## remove built binaries and tools; data stays
	rm -rf bin .cache
