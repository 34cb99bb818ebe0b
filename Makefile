# The usual errands. `make help` lists them.

# Pinned, and installed by this file alone.
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.9.0

GOVULNDB ?= https://vuln.go.dev

BIN     := $(CURDIR)/bin
TOOL    := go tool -modfile=$(CURDIR)/tools/go.mod
ROOT_MODULE := github.com/lifeguard-go/lifeguard
# Every module of the repository but the one that only pins tools.
MODULES := $(patsubst %/go.mod,%,$(shell find . -name go.mod -not -path './tools/*' -not -path './.*/*' | sort))

DURATION   ?= 5s
GOROUTINES ?= 64
CONNS      ?= 8
BENCH      ?= Stub|Server

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## download what the modules and tools need, and check that there is a PostgreSQL
	@set -e; for m in $(MODULES) ./tools; do echo "go mod download in $$m"; (cd $$m && go mod download); done
	go run ./cmd/lifeguard demo -duration 100ms -rows 1000

.PHONY: demo
demo: ## run a mixed workload on a real PostgreSQL (DURATION, GOROUTINES, CONNS)
	go run ./cmd/lifeguard demo -duration $(DURATION) -goroutines $(GOROUTINES) -conns $(CONNS)

.PHONY: overload
overload: ## offer ten times what the server can do, to pgx/stdlib and to Lifeguard
	go run ./cmd/lifeguard demo -overload 10 -duration $(DURATION) -conns $(CONNS)

.PHONY: metrics-server
metrics-server: ## serve Prometheus metrics of a light workload on :9898 (ARGS='-rate 500'; OTLP=URL for traces and logs)
	$(if $(OTLP),go -C cmd/lifeguard-otlp run . -otlp $(OTLP),go run ./cmd/lifeguard metrics-server) $(ARGS)

.PHONY: seed-db-heavy
seed-db-heavy: ## fill a pet shop with many rows (n=100000 batch-size=500 FLAGS='-keep')
	go run ./cmd/lifeguard seed $(if $(n),-n $(n)) $(if $(batch-size),-batch-size $(batch-size)) $(FLAGS)

.PHONY: examples
examples: ## run every example: database/sql, GORM, Bun, sqlx, ent, sqlc, goose, golang-migrate, River, HTTP, CSV, the query cache, overload
	@cd examples && for e in */main.go; do e=$${e%/main.go}; echo "--- $$e"; go run ./$$e || exit 1; done

.PHONY: test
test: ## run the tests of every module, with the race detector
	@failed=; for m in $(MODULES); do echo "go test in $$m"; \
		(cd $$m && go test -race -timeout 20m ./...) || failed="$$failed $$m"; done; \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

.PHONY: test-limiter
test-limiter: ## the limiter's simulated loads for as long as they were made for, without the race detector
	LIFEGUARD_LONG=1 go test -count 1 -v -timeout 20m -run 'TestAMix|TestAShape' .

# How much of each proof of the query cache is done; each says its seed when it fails, and
# LIFEGUARD_PROOF_SEED repeats it. On two quiet cores about 45 minutes in all.
PROOF_OPS        ?= 1000000
PROOF_PROGRAMS   ?= 500
PROOF_STATEMENTS ?= 100000
PROOF_GATE       ?= 200000
PROOF_HISTORY    ?= 3000
PROOF_MUTANTS    ?= all
PROOF_SHARED_OPS ?= 500000
PROOF_SHARED_WORLDS ?= 4
SEED             ?= $(shell date +%s)

.PHONY: prove
prove: prove-linear prove-programs prove-statements prove-gate ## try for long to make the query cache lie (PROOF_OPS, PROOF_PROGRAMS, PROOF_STATEMENTS, PROOF_GATE, SEED)

.PHONY: prove-linear
prove-linear: ## a million operations, and a network that loses answers, judged by porcupine
	LIFEGUARD_PROOF_OPS=$(PROOF_OPS) LIFEGUARD_PROOF_SEED=$(SEED) go test -C internal/cacheproof -count 1 -v -timeout 5h -run TestWhatReadersSee .

.PHONY: prove-programs
prove-programs: ## programs and histories in lockstep with and without the cache, made smaller on failure
	LIFEGUARD_PROOF_PROGRAMS=$(PROOF_PROGRAMS) LIFEGUARD_PROOF_SEED=$(SEED) go test -count 1 -v -timeout 5h -run TestAProgramDoes .
	LIFEGUARD_TEST_HISTORY=$(PROOF_HISTORY) go test -count 1 -timeout 5h -run TestAHistoryIs .

.PHONY: prove-statements
prove-statements: ## every statement of the differential tests
	LIFEGUARD_PROOF_STATEMENTS=$(PROOF_STATEMENTS) LIFEGUARD_PROOF_SEED=$(SEED) go test -C internal/cacheproof -count 1 -v -timeout 5h -run 'TestTheIdioms|TestTheQueries|TestWhatLibraries' .

.PHONY: prove-gate
prove-gate: ## statements changed by chance, against the server's trees, locks and clock
	LIFEGUARD_PROOF_GATE=$(PROOF_GATE) LIFEGUARD_PROOF_SEED=$(SEED) go test -C internal/catalog -count 1 -v -timeout 5h -run TestWhatIsLetThrough .
	go test -C internal/catalog -run '^$$' -fuzz FuzzGate -fuzztime 2m .

.PHONY: prove-redis
prove-redis: ## three processes that share Redis, killed and cut off; half a million operations, judged by porcupine (PROOF_SHARED_OPS, PROOF_SHARED_WORLDS), 10 minutes
	LIFEGUARD_PROOF_SHARED_OPS=$(PROOF_SHARED_OPS) LIFEGUARD_PROOF_SHARED_WORLDS=$(PROOF_SHARED_WORLDS) LIFEGUARD_PROOF_SEED=$(SEED) go test -C internal/cacheproof -count 1 -v -timeout 5h -parallel $(PROOF_SHARED_WORLDS) -run TestWhatProcessesSee .

.PHONY: prove-mutants
prove-mutants: ## plant mistakes into the sources, and see each found (PROOF_MUTANTS=part of a name)
	LIFEGUARD_PROOF_MUTANTS="$(PROOF_MUTANTS)" go test -C internal/cacheproof -count 1 -v -timeout 5h -run TestEachMistake .

.PHONY: bench
bench: ## Lifeguard beside plain pgx/stdlib, in turns, ten times; ratios (BENCH=regexp)
	@out=$$(mktemp) && for i in 1 2 3 4 5 6 7 8 9 10; do \
		go test -run '^$$' -bench '$(BENCH)' -benchtime 300ms -benchmem -timeout 30m . >>$$out || exit 1; done; \
	$(TOOL) benchstat -col /driver $$out; rm -f $$out

.PHONY: bench-limiter
bench-limiter: ## the limiter beside other limiters, in turns, six times
	@out=$$(mktemp) && for i in 1 2 3 4 5 6; do \
		go test -run '^$$' -bench '^BenchmarkLimiter(Uncontended|UncontendedParallel|Contended)$$' -benchtime 300000x . >>$$out || exit 1; \
		(cd benchmarks && go test -run '^$$' -bench BenchmarkLimiter -benchtime 300000x ./limiter) >>$$out || exit 1; done; \
	$(TOOL) benchstat -ignore pkg $$out; rm -f $$out

.PHONY: bench-observed
bench-observed: ## what observing costs: everything on, everything off, otelsql; in turns, ten times
	@out=$$(mktemp) && for i in 1 2 3 4 5 6 7 8 9 10; do \
		go test -C internal/oteltest -run '^$$' -bench Observed -benchtime 200ms -timeout 30m . >>$$out || exit 1; done; \
	$(TOOL) benchstat -col /observer $$out; rm -f $$out

.PHONY: bench-overload
bench-overload: ## ten times the load, through every way to PostgreSQL; writes docs/performance.md, 17 minutes
	cd benchmarks && go run ./overload -out ../docs

.PHONY: bench-auto
bench-auto: ## lifeguard_limit=auto and fixed limits on a server that is disturbed; writes docs/adaptive-limit.md, 9 minutes
	cd benchmarks && go run ./auto -out ../docs

.PHONY: bench-batch
bench-batch: ## bulk loads, through every way to PostgreSQL; writes docs/performance.md, 10 minutes
	cd benchmarks && go run ./batch -out ../docs

.PHONY: bench-cache
bench-cache: ## hits, misses and what the cache costs, beside pgx/stdlib and a constant row; writes docs/performance.md, 5 minutes
	cd benchmarks && go run ./cache -out ../docs

.PHONY: bench-cdc
bench-cdc: ## lifeguard_cache=cdc: how soon it hears, what it costs the server and the writers; writes docs/cache-cdc.md, 4 minutes
	cd benchmarks && go run ./cdc -out ../docs

.PHONY: probe-fleet
probe-fleet: ## lifeguard_fleet_budget with its real interval: processes start, stop and die, and shares move within 15 s
	LIFEGUARD_FLEET_REAL=1 go test -count=1 -v -timeout 5m -run TestInstancesShareTheBudget .

.PHONY: bench-redis
bench-redis: ## lifeguard_redis: a look-up beside a bare round trip, three processes' reads, a restart; writes docs/cache-redis.md, 2 minutes
	cd benchmarks && go run ./redis -out ../docs

.PHONY: probe-cdc
probe-cdc: ## lifeguard_cache=cdc for long: 6,000 rounds of the visibility race, 500,000 rows, a minute of the bound; reports the lag
	LIFEGUARD_CDC_ROUNDS=6000 go test -count=1 -v -timeout 20m -run 'Instant|Standby|LargeTransaction|Silent' ./internal/cdc
	LIFEGUARD_CDC_SECONDS=60 go test -count=1 -v -timeout 20m -run 'OlderThanTheBound|AFailover|DoesNotReplay|TheTimeFromACommit' .

.PHONY: build
build: ## compile every module
	@set -e; for m in $(MODULES); do echo "go build in $$m"; (cd $$m && go build -o /dev/null ./...); done

# What users link or install. The other modules are tests, examples and benchmarks of ours; to
# compile their many dependencies twice more would take minutes.
LINKED := . ./crud ./lifeguardgorm ./lifeguardsqlx ./pgtest/container ./cmd/lifeguard-otlp

.PHONY: cross
cross: ## check what users link, its tests too, for macOS and Windows
	@set -e; for target in darwin/arm64 windows/amd64; do for m in $(LINKED); do \
		echo "$$target in $$m"; \
		(cd $$m && CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} go vet ./...); \
	done; done

.PHONY: fmt
fmt: ## format the code
	$(TOOL) gofumpt -extra=group_params -w .

.PHONY: check-fmt
check-fmt: ## fail if code is not formatted
	@unformatted=$$($(TOOL) gofumpt -extra=group_params -l .); \
	if [ -n "$$unformatted" ]; then echo "run make fmt; not formatted:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet: ## go vet every module
	@set -e; for m in $(MODULES); do echo "go vet in $$m"; (cd $$m && go vet ./...); done

.PHONY: staticcheck
staticcheck: ## staticcheck every module
	@set -e; for m in $(MODULES); do echo "staticcheck in $$m"; (cd $$m && $(TOOL) staticcheck ./...); done

.PHONY: lint
lint: $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION) ## golangci-lint every module; builds the linter the first time, which takes minutes
	@set -e; for m in $(MODULES); do echo "golangci-lint in $$m"; (cd $$m && $< run --config $(CURDIR)/.golangci.yml ./...); done

$(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv $(BIN)/golangci-lint $@

.PHONY: grafana
grafana: ## write dashboards, alerts and their delivery from grafana/spec
	cd grafana && go run ./cmd/generate

.PHONY: stack-up
stack-up: ## start PostgreSQL, Grafana, Prometheus and the rest in Docker (docs/stack.md)
	docker compose -f docker-compose.test.yml up -d --build

.PHONY: stack-down
stack-down: ## stop them; their data are gone
	docker compose -f docker-compose.test.yml down --volumes

.PHONY: settings
settings: ## write the tables of settings and metrics into README.md and docs
	go test -run 'TestTheReadmeListsEverySetting|TestThePageOn' -update .

.PHONY: tuning
tuning: ## write the figures of docs/tuning.md
	go test ./internal/doctest -run Figures -update

.PHONY: licences
licences: ## write the table of licences into docs/licences.md
	go test ./internal/supply -run Licences -update

.PHONY: test-install
test-install: ## install the command from an empty module cache, as a user would
	LIFEGUARD_LONG=1 go test ./internal/supply -run TestTheCommandIsInstalled -count 1 -v

.PHONY: test-docs
test-docs: ## execute the commands of README.md and docs, those that take minutes too, in a copy of the repository
	LIFEGUARD_LONG=1 go test ./internal/doctest -run TestEveryCommand -count 1 -v -timeout 2h

.PHONY: vulncheck
vulncheck: ## known vulnerabilities in what users link; asks vuln.go.dev (GOVULNDB=URL of a mirror, file:// too)
	@err=$$(mktemp); trap 'rm -f '$$err EXIT; for m in . crud lifeguardgorm lifeguardsqlx; do \
		echo "govulncheck in $$m"; \
		if (cd $$m && go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) -db $(GOVULNDB) ./...) 2>$$err; then continue; fi; \
		cat $$err >&2; \
		if grep -q 'fetching vulnerabilities' $$err; then \
			echo "Nothing was checked: the database $(GOVULNDB) cannot be reached from here." >&2; fi; \
		exit 1; done

# What users import: the root, and nested modules that are tagged with it. The others are ours.
SHIPPED := crud lifeguardgorm lifeguardsqlx pgtest/container

# Each nested module that requires another one of ours names its version, though replace leads to
# the folder beside it: users do not get the replace.
.PHONY: release
release: check-version ## write VERSION=v1.2.3 into the go.mod of each module, and into CHANGELOG.md (docs/releasing.md)
	@set -e; for m in $(MODULES); do for p in "" $(SHIPPED:%=/%); do \
		if grep -q "^[[:space:]]*$(ROOT_MODULE)$$p v" $$m/go.mod; then (cd $$m && go mod edit -require=$(ROOT_MODULE)$$p@$(VERSION)); fi; \
	done; done
	@grep -q '^## \[$(VERSION:v%=%)\]' CHANGELOG.md || { \
		awk -v v="## [$(VERSION:v%=%)] - $$(date -u +%F)" '{print} $$0 == "## [Unreleased]" {print "\n" v}' CHANGELOG.md >CHANGELOG.tmp && mv CHANGELOG.tmp CHANGELOG.md; }

.PHONY: check-release
check-release: check-version ## whether VERSION=v1.2.3 can be tagged: what it names, and whether users could install it; pushes nothing
	LIFEGUARD_LONG=1 LIFEGUARD_RELEASE=$(VERSION) go test ./internal/supply -run 'TestTheRelease|TestTheCommandIsInstalled|TestEveryGoMod' -count 1 -v

.PHONY: tag-release
tag-release: check-release ## tag VERSION=v1.2.3 here, each module that users import; pushes nothing
	@set -e; for tag in $(VERSION) $(SHIPPED:%=%/$(VERSION)); do git tag -a -m "$$tag" $$tag; done
	@echo "To publish it: git push --atomic origin main $(VERSION) $(SHIPPED:%=%/$(VERSION))"

.PHONY: check-version
check-version:
	@echo '$(VERSION)' | grep -Eq '^v[01]\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$$' || { echo "VERSION must be such as v0.1.0, not '$(VERSION)'" >&2; exit 2; }

.PHONY: clean
clean: ## remove installed tools
	rm -rf $(BIN)
