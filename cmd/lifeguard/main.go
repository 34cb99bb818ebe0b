// Command lifeguard shows the driver at work on a real PostgreSQL. Run
//
//	go run github.com/lifeguard-go/lifeguard/cmd/lifeguard help
//
// for what it can do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // from here on a second signal ends the process at once
		fmt.Fprintln(os.Stderr, "\nlifeguard: stopping and cleaning up; once more ends it at once")
	})
	out := output{Writer: os.Stdout, errors: os.Stderr, terminal: isTerminal(os.Stdout)}
	os.Exit(run(ctx, os.Args[1:], out))
}

// output is where a command writes. It is not written to concurrently.
type output struct {
	io.Writer
	errors   io.Writer
	terminal bool // a line may be written over
}

// isTerminal takes a character device for a terminal. That /dev/null is one too does
// no harm.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// command is one of the program's. Its flags are made anew for each run.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, out output) error
}

func commands() []command {
	return []command{
		{name: "demo", summary: "run a mixed workload, or an overload, on a real PostgreSQL", run: runDemo},
		{name: "doctor", summary: "say what is wrong with a DSN and the server behind it", run: runDoctor},
		{name: "explain", summary: "tell whether the query cache keeps a statement's results, or why not", run: runExplain},
		{name: "metrics-server", summary: "serve the metrics of a light workload on :9898", run: runMetricsServer},
		{name: "seed", summary: "fill a pet shop with many rows, or load a CSV file", run: runSeed},
	}
}

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as a shell reports SIGINT
)

// usageError is a command line that cannot be understood.
type usageError struct {
	command string // "" if it was not understood either
	text    string
}

func (e *usageError) Error() string { return e.text }

// run executes a command line and returns the exit code. When ctx ends, the command
// stops early and cleans up.
func run(ctx context.Context, args []string, out output) int {
	err := dispatch(ctx, args, out)
	var usage *usageError
	var status statusError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(out.errors, "%s: %s\nRun '%s' for usage.\n",
			strings.TrimSpace("lifeguard "+usage.command), usage.text, strings.TrimSpace("lifeguard help "+usage.command))
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintln(out.errors, "lifeguard: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(out.errors, "lifeguard %s: %v\n", args[0], err)
	return exitFailed
}

func dispatch(ctx context.Context, args []string, out output) error {
	if len(args) == 0 {
		return &usageError{text: "no command given"}
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			printHelp(out)
			return nil
		}
		name, rest = rest[0], []string{"-h"}
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, rest, out)
		}
	}
	return &usageError{text: fmt.Sprintf("unknown command %q", name)}
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "Lifeguard is a database/sql driver for PostgreSQL; this program shows it at work and\n"+
		"looks at what it works on.\n\n"+
		"Usage:\n\n  lifeguard <command> [flags]\n\nCommands:\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-16s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nRun 'lifeguard help <command>' for a command's flags.\n")
}

// parse reads a command's flags, which are all it takes. Help goes to out.
func parse(flags *flag.FlagSet, args []string, out output, intro string) error {
	rest, err := parseArguments(flags, args, out, intro)
	if err == nil && len(rest) > 0 {
		return &usageError{command: flags.Name(), text: fmt.Sprintf("unexpected argument %q", rest[0])}
	}
	return err
}

// parseArguments is parse for a command that takes arguments behind its flags.
func parseArguments(flags *flag.FlagSet, args []string, out output, intro string) ([]string, error) {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, intro, "\nFlags:\n\n")
		flags.SetOutput(out)
		flags.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, &usageError{command: flags.Name(), text: err.Error()}
	}
	return flags.Args(), nil
}
