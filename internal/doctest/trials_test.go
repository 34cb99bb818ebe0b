package doctest

import "strings"

// Reasons that several have.
const (
	less      = "less work: the page's would take too long"
	compiled  = "the program, which is compiled once for all"
	minutes   = "it takes minutes, or writes into the repository"
	address   = "a port that is free, and no collector but the test's"
	noDocker  = "it needs Docker's compose plugin, images from the network, and fixed ports"
	itself    = "this test runs within it"
	mentioned = "it is mentioned, not shown"
)

// vulncheck is tried with a database that has nothing, and one that has something.
const vulncheck = "make vulncheck GOVULNDB=file://$PWD/internal/doctest/testdata/vulndb/none && " +
	"! make vulncheck GOVULNDB=file://$PWD/internal/doctest/testdata/vulndb/madeup >made.txt && grep GO-2026-9999 made.txt"

// released makes a release of the copy, and a repository of that.
const released = "export GIT_CONFIG_GLOBAL=$PWD/.gitconfig && git config --global user.name x && git config --global user.email x@example.invalid && " +
	"make release VERSION=v0.1.0 && git init -q && git add -A && git commit -qm x && "

// tagged tags it.
const tagged = released + "make tag-release VERSION=v0.1.0 && " +
	"test \"$(git tag | tr '\\n' ' ')\" = 'crud/v0.1.0 lifeguardgorm/v0.1.0 lifeguardsqlx/v0.1.0 pgtest/container/v0.1.0 v0.1.0 '"

// trials are the commands of README.md and docs, and how each is tried.
func trials() map[string]trial {
	const program = "go run ./cmd/lifeguard"
	served1 := trial{how: served, replace: []string{program, "lifeguard"}, add: " -addr 127.0.0.1:0", why: compiled + "; " + address}
	table := map[string]trial{
		program + " demo": {
			add: " -duration 300ms -rows 1000", why: less,
			want: []string{"64 goroutines work for 300ms over at most 8 connections", "queries per second", "goroutines served", "connections used     8 at most", "refused "},
		},
		program + " demo -overload 10": {
			replace: []string{program, "lifeguard"}, add: " -duration 300ms", why: compiled + "; " + less,
			want: []string{"pgx/stdlib", "Lifeguard", "250ms", "10 ×"},
		},
		program + " doctor -dsn …": {
			replace: []string{program, "lifeguard", "…", "DSN"}, status: []int{0, 1}, why: compiled + "; a DSN",
			want: []string{"PostgreSQL ", "why", "fix", " warning"},
		},
		program + " metrics-server":     served1,
		"lifeguard metrics-server":      {how: served, add: " -addr 127.0.0.1:0", why: address},
		"go doc":                        {want: []string{"package lifeguard", "func NewBatchInserter", "func WithPriority"}},
		"go run ./gorm":                 {replace: []string{"go run", "go run -C examples"}, why: "the page says that it is meant in examples", want: []string{"a second Ann is a duplicate: true"}},
		"cd examples && go run ./redis": {want: []string{"process 2 sees it at once: true", "a write goes on"}},
		"cd examples && go run ./cache": {want: []string{"the cache answered ", "because of function random"}},
		"make help":                     {want: []string{"seed-db-heavy", "prove-linear", "test-docs", "vulncheck"}},
		".ci/run":                       {replace: []string{".ci/run", "bash -n .ci/run"}, why: itself, long: "MAKEFLAGS=MODULES=./lifeguardsqlx .ci/run"},
		"go get github.com/lifeguard-go/lifeguard": {
			how: elsewhere, where: "internal/supply/install_test.go:TestTheCommandIsInstalledFromAnEmptyModuleCache",
			why: "it asks the network; there a proxy of the test's own answers, with make test-install",
		},
		"go test ./internal/supply":                                {add: " -list .", why: "it is tested by make test", want: []string{"Licences"}},
		"go test -run '^$' -bench 'Observe|TopQueries' .":          {add: " -benchtime 1x", why: less, want: []string{"BenchmarkObserve", "BenchmarkTopQueries", "PASS"}},
		"go test -bench ManyRows ./internal/rowset":                {add: " -benchtime 1x -run '^$'", why: less, want: []string{"BenchmarkManyRows", "PASS"}},
		"go test -run '^$' -bench UselessCache .":                  {add: " -benchtime 1x", why: less, env: ownServer(), want: []string{"BenchmarkUselessCache", "PASS"}},
		"cd grafana && go test ./...":                              {replace: []string{"go test", "go list"}, why: "it is tested by make test", want: []string{"grafana/live", "grafana/stack"}},
		"cd tools && go tool benchstat -ignore pkg ../limiter.txt": {replace: []string{"../limiter.txt", "-h 2>&1 | cat"}, why: "there is no file to compare", want: []string{"-ignore"}},
	}
	for _, part := range []map[string]trial{doctorTrials(), seedTrials(), makeTrials(), stackTrials(), measurements()} {
		for command, tr := range part {
			table[command] = tr
		}
	}
	return table
}

func doctorTrials() map[string]trial {
	either := []int{0, 1} // by who the role is, and how the server is set
	return map[string]trial{
		"lifeguard doctor":              {status: either, want: []string{"PostgreSQL ", " warning", " note"}},
		"lifeguard doctor -json":        {status: either, want: []string{`"level"`, `"status"`, `"server"`, `"findings"`, `"check"`, `"what"`, `"why"`, `"fix"`, `"fixes"`}},
		"lifeguard doctor -fix":         {status: either, add: " </dev/null", why: "nobody answers", want: []string{"PostgreSQL ", " be "}},
		"lifeguard doctor -instances 8": {status: either, want: []string{"8 instances"}},
		"lifeguard doctor -instances 3": {
			status: []int{2}, env: map[string]string{"LIFEGUARD_CACHE": "local"},
			want: []string{"lifeguard_cache=local with 3 instances that write"},
		},
		"lifeguard doctor -instances N": {replace: []string{"N", "5000"}, status: []int{2}, why: "a number", want: []string{"error  connections", "5000 instances"}},
		"lifeguard doctor -dsn 'postgres://app@db/shop?pool_max_conns=10' -instances 8": {
			replace: []string{"'postgres://app@db/shop?pool_max_conns=10'", "DSN'&pool_max_conns=10'"}, status: either,
			why: "the test's database", want: []string{"8 instances", "why", "fix"},
		},
		"lifeguard explain": {add: " 'select 1'", why: mentioned, want: []string{"cacheable  yes"}},
	}
}

func seedTrials() map[string]trial {
	want := []string{"2,000 rows into the schema petshop in ", "5 batches of at most 500 rows"}
	return map[string]trial{
		"lifeguard seed":    {add: " -n 1000", why: less, want: []string{"1,000 rows into the schema petshop in "}},
		"lifeguard seed -h": {want: []string{"-csv", "-keep", "-reset", "-batch-size"}},
		"go run ./cmd/lifeguard seed -n 100000 -batch-size 500": {replace: []string{"go run ./cmd/lifeguard", "lifeguard", "100000", "2000"}, why: less, want: want},
		"just seed-db-heavy n=100000 --batch-size=500":          {replace: []string{"go run ./cmd/lifeguard", "lifeguard", "100000", "2000"}, why: less + "; just need not be installed, its recipe is executed", want: want},
		"make seed-db-heavy n=100000 batch-size=500":            {replace: []string{"100000", "2000"}, why: less, want: want},
	}
}

// ownServer has a command start a PostgreSQL with the settings that it needs.
func ownServer() map[string]string { return map[string]string{"LIFEGUARD_TEST_DSN": ""} }

func makeTrials() map[string]trial {
	table := map[string]trial{
		"make test":         {how: planned, why: itself, long: "make test MODULES='./lifeguardsqlx ./crud'", want: []string{"go test -race"}},
		"make examples":     {how: planned, why: minutes, long: "make examples", want: []string{"go run ./$e"}},
		"make lint":         {how: planned, why: minutes, long: "make lint MODULES=./crud", want: []string{"golangci-lint"}},
		"make vulncheck":    {how: planned, why: "it asks vuln.go.dev; in long, databases that are here", long: vulncheck, want: []string{"govulncheck@"}},
		"make test-install": {how: planned, why: minutes, long: "make test-install", want: []string{"TestTheCommandIsInstalled"}},
		"go install":        {how: elsewhere, where: "internal/supply/install_test.go:TestTheCommandIsInstalledFromAnEmptyModuleCache", why: mentioned},
		"go install …/cmd/lifeguard@version": {
			how: elsewhere, where: "internal/supply/install_test.go:TestTheCommandIsInstalledFromAnEmptyModuleCache",
			why: "it asks the network; there a proxy of the test's own answers, with make test-install",
		},
		"make prove": {
			how: planned, why: minutes,
			long: "make prove PROOF_OPS=20000 PROOF_PROGRAMS=5 PROOF_HISTORY=100 PROOF_STATEMENTS=300 PROOF_GATE=6000", want: []string{"TestWhatReadersSee", "TestAProgramDoes", "TestTheIdioms", "FuzzGate"},
		},
		"make prove-mutants":                {how: planned, why: minutes, long: "make prove-mutants PROOF_MUTANTS='the catalog never forgotten'", want: []string{"TestEachMistake"}},
		"make prove-redis":                  {how: planned, why: minutes, long: "make prove-redis PROOF_SHARED_OPS=5000", want: []string{"TestWhatProcessesSee"}},
		"make release VERSION=v0.1.0":       {how: planned, why: "it writes into the repository", long: "make release VERSION=v0.1.0", want: []string{"go mod edit -require="}},
		"make check-release VERSION=v0.1.0": {how: planned, why: minutes, long: released + "make check-release VERSION=v0.1.0", want: []string{"TestTheRelease", "TestTheCommandIsInstalled"}},
		"make tag-release VERSION=v0.1.0":   {how: planned, why: "it sets tags", long: tagged, want: []string{"git tag -a"}},
		"make test-docs":                    {how: planned, why: itself, want: []string{"TestEveryCommand"}},
		"make bench-redis":                  {how: planned, why: minutes, long: "cd benchmarks && go run ./redis -quick", want: []string{"go run ./redis"}},
	}
	for target, want := range map[string]string{
		"settings": "TestTheReadmeListsEverySetting", "tuning": "Figures", "licences": "Licences", "grafana": "go run ./cmd/generate",
	} {
		table["make "+target] = trial{how: planned, why: minutes, long: "make " + target, want: []string{want}}
	}
	for target, quick := range map[string]string{
		"prove-linear": "PROOF_OPS=50000", "prove-programs": "PROOF_PROGRAMS=20 PROOF_HISTORY=300",
		"prove-statements": "PROOF_STATEMENTS=1000", "prove-gate": "PROOF_GATE=6000",
	} {
		table["make "+target] = trial{how: planned, why: minutes, long: "make " + target + " " + quick, want: []string{"go test "}}
	}
	return table
}

func stackTrials() map[string]trial {
	const compose, read = "docker compose -f docker-compose.test.yml ", "grafana/stack/compose_test.go:TestComposeHasEveryService"
	otlp := []string{"go -C cmd/lifeguard-otlp run .", "lifeguard-otlp"}
	return map[string]trial{
		compose + "up -d":               {how: elsewhere, where: read, why: noDocker},
		compose + "down":                {how: elsewhere, where: read, why: noDocker},
		compose + "stop metrics-server": {how: elsewhere, where: read, why: noDocker},
		"docker compose":                {how: elsewhere, where: read, why: mentioned},
		"promtool check rules": {
			how: elsewhere, where: "grafana/live/rules_test.go:TestPromtoolFindsNoFault", why: mentioned,
		},
		"amtool check-config": {how: elsewhere, where: "grafana/live/rules_test.go:TestAmtoolFindsNoFault", why: mentioned},
		"go -C cmd/lifeguard-otlp run . -otlp http://localhost:4318": {
			how: served, replace: append(otlp, "http://localhost:4318", "COLLECTOR"), add: " -addr 127.0.0.1:0", why: compiled + "; " + address,
		},
		"go -C cmd/lifeguard-otlp run . -addr :9899 -hold 200ms -goroutines 200 -rate 0": {
			how: served, replace: append(otlp, ":9899", "127.0.0.1:0"), why: compiled + "; " + address, add: " -otlp COLLECTOR",
			want: []string{`lifeguard_pool_queue_depth{`},
		},
	}
}

// measurements are tried by their flags, which the programs themselves read: -h, put behind
// them, is an error of its own for a flag that is not there.
func measurements() map[string]trial {
	table := map[string]trial{
		"make bench": {how: planned, why: minutes, long: "make bench BENCH=StubQuery", want: []string{"benchstat -col /driver"}},
		"for i in 1 2 3 4 5 6; do go test -run '^$' -bench 'Limiter(Uncontended|Contended)' -benchtime 300000x . >> limiter.txt; " +
			"(cd benchmarks && go test -run '^$' -bench . -benchtime 300000x ./limiter) >> limiter.txt; done": {
			replace: []string{"1 2 3 4 5 6", "1", "300000x", "100x", ">> limiter.txt", ""}, why: less + "; the file would stay",
			want: []string{"BenchmarkLimiterUncontended", "benchmarks/limiter"},
		},
	}
	for _, name := range []string{"overload", "batch", "cache"} {
		table["cd benchmarks && go run ./"+name+" -out ../docs"] = trial{add: " -h", why: minutes, want: []string{"-quick"}}
		table["cd benchmarks && go run ./"+name+" -quick"] = trial{
			add: " -h", why: minutes, want: []string{"-quick"}, long: "cd benchmarks && go run ./" + name + " -quick",
		}
	}
	for target, want := range map[string]string{
		"auto": "./auto", "batch": "./batch", "cache": "./cache", "cdc": "./cdc", "overload": "./overload",
		"limiter": "benchstat", "observed": "Observed",
	} {
		quick := "cd benchmarks && go run " + want + " -quick"
		if !strings.HasPrefix(want, "./") {
			quick = "make bench-" + target
		}
		table["make bench-"+target] = trial{how: planned, why: minutes, long: quick, want: []string{want}}
	}
	return table
}
