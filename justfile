# The errands of the Makefile, for those who use just. `just` lists them.

duration := "5s"
goroutines := "64"
conns := "8"

_default:
    @just --list --unsorted

# download what the modules and tools need, and check that there is a PostgreSQL
setup:
    make setup

# run a mixed workload on a real PostgreSQL
demo *flags:
    go run ./cmd/lifeguard demo -duration {{ duration }} -goroutines {{ goroutines }} -conns {{ conns }} {{ flags }}

# offer ten times what the server can do, to pgx/stdlib and to Lifeguard
overload *flags:
    go run ./cmd/lifeguard demo -overload 10 -duration {{ duration }} -conns {{ conns }} {{ flags }}

# serve Prometheus metrics of a light workload on :9898
metrics-server *flags:
    go run ./cmd/lifeguard metrics-server {{ flags }}

# the same, with traces and logs sent to an OpenTelemetry collector
metrics-server-otlp url="http://localhost:4318" *flags:
    go -C cmd/lifeguard-otlp run . -otlp {{ url }} {{ flags }}

# fill a pet shop with many rows: just seed-db-heavy n=100000 --batch-size=500
seed-db-heavy *flags:
    go run ./cmd/lifeguard seed {{ flags }}

# run every example
examples:
    make examples

# run the tests of every module, with the race detector
test:
    make test

# run the benchmarks
bench pattern=".":
    make bench BENCH='{{ pattern }}'

# measure what becomes of too much load, through every way to PostgreSQL; 17 minutes
bench-overload:
    make bench-overload

# how soon lifeguard_cache=cdc hears of others' writes, and what it costs; 4 minutes
bench-cdc:
    make bench-cdc

# the limiter beside other limiters
bench-limiter:
    make bench-limiter

# what observing costs
bench-observed:
    make bench-observed

# bulk loads, through every way to PostgreSQL; 10 minutes
bench-batch:
    make bench-batch

# lifeguard_limit=auto and fixed limits on a server that is disturbed; 9 minutes
bench-auto:
    make bench-auto

# compile every module
build:
    make build

# write dashboards, alerts and their delivery from grafana/spec
grafana:
    make grafana

# start PostgreSQL, Grafana, Prometheus and the rest in Docker (docs/stack.md)
stack-up:
    make stack-up

# stop them; their data are gone
stack-down:
    make stack-down

# compile every module for macOS and Windows
cross:
    make cross

# write the tables of settings and metrics into README.md and docs
settings:
    make settings

# format the code
fmt:
    make fmt

# go vet and staticcheck, every module
check:
    make vet staticcheck

# golangci-lint; builds the linter the first time, which takes minutes
lint:
    make lint

# remove installed tools
clean:
    make clean

# what CI does
ci:
    .ci/run
