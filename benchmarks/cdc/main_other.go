//go:build !linux

// Command cdc needs Linux: it reads processor times from /proc.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "cdc: needs Linux, for the processor times of /proc")
	os.Exit(1)
}
