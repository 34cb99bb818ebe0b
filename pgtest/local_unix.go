//go:build unix

package pgtest

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// socketPathLimit is the least of what systems allow for the path of a socket,
// less the name that PostgreSQL appends.
const socketPathLimit = 104 - len("/.s.PGSQL.65535.lock")

// launch starts the server on l.port and waits until it is ready.
func (l *local) launch(ctx context.Context) (err error) {
	log, err := os.OpenFile(l.logFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	logStart := size(l.logFile())

	socketDir := l.keeper.dir
	if len(socketDir) > socketPathLimit {
		socketDir = ""
	}
	cmd := exec.Command(l.inst.program("postgres"),
		"-D", l.data(), "-p", strconv.Itoa(l.port), "-h", "127.0.0.1", "-k", socketDir)
	cmd.Dir = l.keeper.dir
	cmd.Env = serverEnv()
	cmd.Stdout, cmd.Stderr = log, log
	if l.log != nil {
		both := io.MultiWriter(log, l.log) // the same value twice makes exec use one pipe
		cmd.Stdout, cmd.Stderr = both, both
	}
	p, err := l.keeper.start(cmd, l.acct)
	if err != nil {
		return err
	}

	for !p.exited(pollEvery) {
		if pid, ready := l.status(); ready && pid == strconv.Itoa(p.cmd.Process.Pid) {
			l.running = p
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), p.end(syscall.SIGQUIT, stopLimit))
		}
	}

	return l.failure(p.reap(), logStart)
}

// halt stops the server in the given way and waits for the end of its processes.
// ctx may cut a fast shutdown short: it then becomes an immediate one.
func (l *local) halt(ctx context.Context, mode StopMode) error {
	if l.running == nil {
		return nil
	}
	p := l.running
	if mode == Fast {
		p.signal(syscall.SIGINT)
		for ctx.Err() == nil && !p.exited(pollEvery) {
		}
	}
	if err := p.end(syscall.SIGQUIT, stopLimit); err != nil {
		return err
	}
	l.running = nil

	return ctx.Err()
}

func (l *local) kill() error {
	if l.running == nil {
		return nil
	}
	segment := l.sharedMemory()
	if err := l.running.end(syscall.SIGKILL, stopLimit); err != nil {
		return err
	}
	l.running = nil

	// The next server would find and remove this piece of shared memory, but there
	// may be none, and it is the kernel's: it does not go with the directory.
	if segment != "" {
		_ = exec.Command("ipcrm", "-m", segment).Run()
	}

	return nil
}

// sharedMemory is the System V segment that line 7 of postmaster.pid names.
func (l *local) sharedMemory() string {
	text, err := os.ReadFile(filepath.Join(l.data(), "postmaster.pid"))
	if err != nil {
		return ""
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 7 {
		return ""
	}
	fields := strings.Fields(lines[6])
	if len(fields) != 2 {
		return ""
	}

	return fields[1]
}

// stop ends the server and removes its directory.
func (l *local) stop() error {
	err := l.halt(context.Background(), Immediate)

	return errors.Join(err, l.keeper.close())
}
