// Package program is what the programs that measure have in common: flags, signals, and
// where the results go.
package program

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/report"
)

// Main parses the flags, of which one sets quick, then calls shorten, and runs the program until it
// ends or the first signal comes. It has to be called by main: the server that a program starts
// ends with the thread that has started it (Pdeathsig).
func Main(quick *bool, shorten func(), run func(context.Context) error) {
	runtime.LockOSThread()
	log.SetFlags(log.Ltime)
	flag.Parse()
	if *quick {
		shorten()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Print(err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// NeedsLinux ends a program where there is no /proc.
func NeedsLinux() {
	fmt.Fprintf(os.Stderr, "%s: needs Linux, for the processor times of /proc\n", filepath.Base(os.Args[0]))
	os.Exit(1)
}

// Publish writes the tables of a benchmark into a page of the folder out, or to stdout if there
// is none.
func Publish(stdout io.Writer, out, page, benchmark, text string) error {
	if out == "" {
		_, err := fmt.Fprintln(stdout, text)
		return err
	}
	return report.Publish(filepath.Join(out, page), benchmark, text)
}

// Selected reports whether name contains one of a comma-separated list; an empty list
// selects everything.
func Selected(list, name string) bool {
	if list == "" {
		return true
	}
	for part := range strings.SplitSeq(list, ",") {
		if strings.Contains(name, strings.TrimSpace(part)) {
			return true
		}
	}
	return false
}
