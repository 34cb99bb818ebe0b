//go:build linux

package main

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeguard-go/lifeguard/benchmarks/internal/proc"
)

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
		busy:    proc.Busy(),
		server:  proc.Family(m.Postmaster),
		bouncer: proc.Family(m.Bouncer),
		self:    proc.Self(),
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
