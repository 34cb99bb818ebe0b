// Package serve is what the programs of this module have in common: they say
// where their server is, and live as long as their standard input.
package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
)

// Address is the one line that a program prints, in JSON.
type Address struct {
	URL    string `json:"url"`
	Source string `json:"source"` // for humans
}

// Until runs start, prints the address it returns, waits for the end of the
// standard input or an interrupt, and stops the server. start gets a context
// that ends early when the input does. It exits with status 1 after an error.
func Until(start func(context.Context) (Address, func() error, error)) {
	if err := until(start, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func until(start func(context.Context) (Address, func() error, error), in io.Reader, out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in) // an error is an end, too
		stop()
	}()

	address, stopServer, err := start(ctx)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(address); err != nil {
		fmt.Fprintln(os.Stderr, err) // nobody reads: the input ends as well
	}
	<-ctx.Done()

	return stopServer()
}
