//go:build !linux

// Command cdc needs Linux: it reads processor times from /proc.
package main

import "github.com/lifeguard-go/lifeguard/benchmarks/internal/program"

func main() { program.NeedsLinux() }
