//go:build !linux

// Command cache needs Linux: it reads processor times from /proc.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "cache: needs Linux, for the processor times of /proc")
	os.Exit(1)
}
