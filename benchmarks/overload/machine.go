//go:build linux

package main

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// tick is the unit of /proc's processor times (USER_HZ, 100 on every Linux).
const tick = 10 * time.Millisecond

// processorTime is who used the processors, since boot.
type processorTime struct {
	at      time.Time
	busy    time.Duration // everybody
	server  time.Duration // PostgreSQL, with its ended backends
	bouncer time.Duration
	self    time.Duration // load generator and driver
}

func (m *machine) processorTime() processorTime {
	return processorTime{
		at:      time.Now(),
		busy:    busyTime(),
		server:  familyTime(m.Postmaster),
		bouncer: familyTime(m.Bouncer),
		self:    selfTime(),
	}
}

func (t processorTime) since(start processorTime) processorTime {
	return processorTime{
		busy:    t.busy - start.busy,
		server:  t.server - start.server,
		bouncer: t.bouncer - start.bouncer,
		self:    t.self - start.self,
	}
}

// machine knows the processes whose processor time is counted; 0 is none.
type machine struct {
	Postmaster int
	Bouncer    int
}

func selfTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these arguments
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// busyTime is user + nice + system + irq + softirq of all processors.
func busyTime() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	var sum time.Duration
	for _, i := range []int{1, 2, 3, 6, 7} {
		if i < len(f) {
			sum += ticks(f[i])
		}
	}
	return sum
}

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(n) * tick
}

// stat returns the fields of /proc/pid/stat from the state on, or nil.
func stat(pid string) []string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil
	}
	s := string(b)
	return strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
}

// familyTime is what a process, its children and its ended children have used.
func familyTime(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	parent := strconv.Itoa(pid)
	sum := time.Duration(0)
	if f := stat(parent); f != nil {
		sum = ticks(f[11]) + ticks(f[12]) + ticks(f[13]) + ticks(f[14])
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if c := e.Name()[0]; c < '0' || c > '9' {
			continue
		}
		if f := stat(e.Name()); f != nil && f[1] == parent {
			sum += ticks(f[11]) + ticks(f[12])
		}
	}
	return sum
}

// peaks watches this process while a load runs.
type peaks struct {
	goroutines int    // beyond those before the load, without the unborn
	heap       uint64 // bytes in heap objects, dead ones not yet collected too
	stacks     uint64

	stop chan struct{}
	done sync.WaitGroup
}

func watchPeaks(unborn *atomic.Int64) *peaks {
	p := &peaks{stop: make(chan struct{})}
	before := runtime.NumGoroutine() + 1 // and the watcher itself
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	p.done.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			waiting := int(unborn.Load()) // first: who is born in between counts for the contestant
			p.goroutines = max(p.goroutines, runtime.NumGoroutine()-waiting-before)
			metrics.Read(samples)
			p.heap = max(p.heap, samples[0].Value.Uint64())
			p.stacks = max(p.stacks, samples[1].Value.Uint64())
			select {
			case <-ticker.C:
			case <-p.stop:
				return
			}
		}
	})
	return p
}

func (p *peaks) end() {
	close(p.stop)
	p.done.Wait()
}
