package cdc

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A test that stops or kills a process has this binary be one: envVictim is the database that
// it listens to, envVictimRelay the URL of the Redis of its relay, if it has one, and
// envVictimSlots how many slots that has.
const (
	envVictim      = "LIFEGUARD_CDC_VICTIM"
	envVictimRelay = "LIFEGUARD_CDC_VICTIM_RELAY"
	envVictimSlots = "LIFEGUARD_CDC_VICTIM_SLOTS"
)

// victimBound is how old what the process serves may be.
const victimBound = time.Second

// victim is the main function of the process. It says when it serves, through a slot, and
// answers each line, the OID of a table, with its role and the table's version: as soon as it
// serves.
func victim(dsn string) {
	slots, _ := strconv.Atoi(os.Getenv(envVictimSlots))
	epoch := time.Now()
	cache := &register{versions: map[Relation]int{}}
	c := New(Config{
		Relay:   relayAt(os.Getenv(envVictimRelay), slots),
		Connect: connectTo(dsn), Cache: cache,
		Now:   func() time.Duration { return time.Since(epoch) },
		Bound: victimBound, MaxLag: 1 << 30, Publication: "lifeguard", PollEvery: time.Hour,
	})
	for !c.Serves(time.Since(epoch)) || c.Stats().Role == Follower {
		<-time.After(time.Millisecond)
	}
	_, _ = fmt.Fprintln(os.Stdout, "serves")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		table, _ := strconv.ParseUint(in.Text(), 10, 32)
		for !c.Serves(time.Since(epoch)) {
			<-time.After(100 * time.Microsecond)
		}
		version := cache.version(Relation(table))
		_, _ = fmt.Fprintln(os.Stdout, c.Stats().Role, version)
	}
	<-context.Background().Done() // until it is killed
}

// child is such a process.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

// startVictim returns when the process serves. It is killed when the test ends.
func startVictim(t testing.TB, dsn, relay string, slots int) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envVictim+"="+dsn, envVictimRelay+"="+relay, envVictimSlots+"="+strconv.Itoa(slots))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	if said := c.says(); said != "serves" {
		t.Fatalf("the process says %q", said)
	}
	return c
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// ask has the process tell, when it serves next, how it stands with a table.
func (c *child) ask(table Relation) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, table); err != nil {
		c.t.Fatal(err)
	}
}

// says is the next that it tells.
func (c *child) says() string {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatalf("the process is gone: %v", c.out.Err())
	}
	return c.out.Text()
}

// stands is its role, and the version of the table for which it was asked.
func (c *child) stands() (role Role, version string) {
	c.t.Helper()
	name, version, _ := strings.Cut(c.says(), " ")
	return Role(name), version
}

// plays waits until the process has a role.
func (c *child) plays(table Relation, role Role) {
	c.t.Helper()
	eventually(c.t, "the process is "+string(role), func() bool {
		c.ask(table)
		is, _ := c.stands()
		return is == role
	})
}
