//go:build linux

// Package proc reads what processes have used of the processors.
package proc

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Tick is the unit of /proc's processor times (USER_HZ, 100 on every Linux).
const Tick = 10 * time.Millisecond

// Self is what this process has used.
func Self() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these arguments
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Busy is user + nice + system + irq + softirq of all processors.
func Busy() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	var sum time.Duration
	for _, i := range []int{1, 2, 3, 6, 7} {
		if i < len(f) {
			sum += Ticks(f[i])
		}
	}
	return sum
}

// Ticks reads a time of /proc.
func Ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(n) * Tick
}

// Stat returns the fields of /proc/pid/stat from the state on, or nil.
func Stat(pid string) []string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil
	}
	s := string(b)
	return strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
}

// Family is what a process, its children and its ended children have used.
func Family(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	parent := strconv.Itoa(pid)
	sum := time.Duration(0)
	if f := Stat(parent); f != nil {
		sum = Ticks(f[11]) + Ticks(f[12]) + Ticks(f[13]) + Ticks(f[14])
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if c := e.Name()[0]; c < '0' || c > '9' {
			continue
		}
		if f := Stat(e.Name()); f != nil && f[1] == parent {
			sum += Ticks(f[11]) + Ticks(f[12])
		}
	}
	return sum
}

// Children says for how long the living children of a process have run, and for how long
// they were ready to run and had no processor, by the scheduler's own count.
func Children(pid int) (ran, awaited time.Duration) {
	parent := strconv.Itoa(pid)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if c := e.Name()[0]; c < '0' || c > '9' {
			continue
		}
		if f := Stat(e.Name()); f == nil || f[1] != parent {
			continue
		}
		b, _ := os.ReadFile("/proc/" + e.Name() + "/schedstat")
		if f := strings.Fields(string(b)); len(f) > 1 {
			r, _ := strconv.ParseInt(f[0], 10, 64)
			a, _ := strconv.ParseInt(f[1], 10, 64)
			ran, awaited = ran+time.Duration(r), awaited+time.Duration(a)
		}
	}
	return ran, awaited
}
