package rediscache_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

// The counters only grow, by one at a time, so that a history of them is linearizable if and
// only if nobody reads less than what somebody had read or written before he asked, and
// nobody more than what was being written. That is what notLinearizable looks for; what is
// written it leaves to PostgreSQL.

func TestThreeProcessesSeeWhatOneDatabaseWouldShow(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	w := ownRedis(t)
	events := run(t, w, "", 6*time.Second, func(processes []*exec.Cmd) {
		<-time.After(2 * time.Second)
		if err := w.raw.FlushAll(t.Context()).Err(); err != nil {
			t.Error(err)
		}
		<-time.After(2 * time.Second)
		_ = processes[0].Process.Kill()
	})
	sources := make(map[string]int)
	writes := 0
	for _, e := range events {
		if e.Write {
			writes++
			continue
		}
		sources[e.Source]++
	}
	t.Logf("%d writes, reads: %v", writes, sources)
	if sources["redis"] == 0 || sources["memory"] == 0 || writes == 0 {
		t.Error("nothing is proved")
	}
	if why := notLinearizable(events); why != "" {
		t.Error(why)
	}
}

func TestAPlantedMistakeIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	for _, fault := range []string{faultCaptureLate, faultNoIntent, faultNoBump} {
		t.Run(fault, func(t *testing.T) {
			for range 5 {
				why := notLinearizable(run(t, ownRedis(t), fault, 2*time.Second, nil))
				if why != "" {
					t.Log(why)
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}

// run has three processes read and write for a while, and returns what they saw.
func run(t *testing.T, w *world, fault string, d time.Duration, meanwhile func([]*exec.Cmd)) []event {
	t.Helper()
	dsn := pgtest.DSN(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for i := range registers {
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("create table r%d (v bigint); insert into r%[1]d values (0)", i)); err != nil {
			t.Fatal(err)
		}
	}
	j := job{Redis: w.url, PostgreSQL: dsn, Fault: fault, Linger: 3 * time.Second, Duration: d}
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	s := w.space(j.Linger)
	confirmed(t, w, s)
	keepWatching(t, s)
	var processes []*exec.Cmd
	var outs [3]bytes.Buffer
	var logs bytes.Buffer
	var mu sync.Mutex
	for i := range outs {
		cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this program
		cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
		cmd.Stdout, cmd.Stderr = &outs[i], lockedWriter{&mu, &logs}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		processes = append(processes, cmd)
	}
	if meanwhile != nil {
		meanwhile(processes)
	}
	for _, cmd := range processes {
		if err := cmd.Wait(); err != nil && meanwhile == nil {
			t.Error(err)
		}
	}
	if logs.Len() > 0 {
		t.Log(logs.String())
	}
	var events []event
	for i := range outs {
		lines := bufio.NewScanner(&outs[i])
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil { // the last line of one that was killed is cut off
				events = append(events, e)
			}
		}
	}
	return events
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

// Write implements io.Writer.
func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// notLinearizable returns the first thing that one counter could not have shown.
func notLinearizable(events []event) string {
	for register := range registers {
		var starts, ends []event
		for _, e := range events {
			if e.Register == register {
				starts, ends = append(starts, e), append(ends, e)
			}
		}
		slices.SortFunc(starts, func(a, b event) int { return int(a.Start - b.Start) })
		slices.SortFunc(ends, func(a, b event) int { return int(a.End - b.End) })
		var most event // what was known when one began
		n := 0
		for _, e := range starts {
			for ; n < len(ends) && ends[n].End < e.Start; n++ {
				if ends[n].Value > most.Value {
					most = ends[n]
				}
			}
			if e.Value < most.Value || e.Write && e.Value == most.Value {
				return fmt.Sprintf("register %d: %d from the %s, %d µs after somebody had %d from the %s",
					register, e.Value, e.Source, (e.Start-most.End)/1000, most.Value, most.Source)
			}
		}
		for _, e := range events { // from the future
			if e.Write || e.Register != register {
				continue
			}
			for _, other := range starts {
				if other.Write && other.Value == e.Value && other.Start > e.End {
					return fmt.Sprintf("register %d: %d was read before it was written", register, e.Value)
				}
			}
		}
	}
	return ""
}
