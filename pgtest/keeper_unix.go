//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The keeper's arguments are the directory and the signal that ends the process
// quickly. A dead process that nobody reaps still answers kill -0, hence the
// second look, at the file that a postmaster removes as its last act.
const keeperScript = `
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -s "$2" "$pid"; then
	n=0
	while kill -s 0 "$pid" && [ $n -lt 70 ]; do
		if [ -d "$1/data" ] && ! [ -e "$1/data/postmaster.pid" ]; then break; fi
		sleep 0.1 || sleep 1
		n=$((n+1))
	done
	kill -s KILL "$pid"
fi
n=0
until rm -rf "$1" || [ $n -ge 30 ]; do
	sleep 0.1 || sleep 1
	n=$((n+1))
done
`

// announceScript tells the keeper who it is and becomes the command. Descriptor
// 3 is the keeper's pipe, which must not stay open: the server would keep itself
// alive with it.
const announceScript = `echo $$ >&3 || exit; exec 3>&-; exec "$@"`

// keeperCommand is the keeper of a directory, which ends what runs under it by the signal.
//
// The keeper reads a pipe whose only lasting writer is this process, so the end of the
// pipe is the end of this process, be it os.Exit, a panic or kill -9. Over the
// pipe it learns the process to end:
//
//	this process ──"\n": nothing to end──▶ ┌──────┐
//	started child ──"4711\n": it is me───▶ │keeper│──end of file──▶ kill, rm -rf
//	                                       └──────┘
//
// The child names itself, from the shell that then becomes the server, so there
// is no moment at which the server runs and the keeper does not know it.
//
// Rejected: Pdeathsig, which only Linux has and which follows the thread that
// started the child, not the process; and a keeper that is the server's parent,
// from which this process could not learn how the server ended.
func keeperCommand(dir, signal string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", keeperScript, "pgtest-keeper", dir, signal)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin:" + os.Getenv("PATH")}
	return cmd
}

// process is a child under a keeper.
type process struct {
	name   string
	keeper *keeper
	cmd    *exec.Cmd
	// life is a pipe into which nobody writes. The child and all its children
	// have its other end, so that its end is the end of them all. Reading it with
	// a deadline needs no goroutine while the child runs, so a leak check in a
	// test that uses the server stays quiet.
	life *os.File
}

// start runs cmd, as another user when acct is not nil.
func (k *keeper) start(cmd *exec.Cmd, acct *account) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()

	name := filepath.Base(cmd.Path)
	cmd.Args = append([]string{"/bin/sh", "-c", announceScript, name, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.ExtraFiles = []*os.File{k.pipe, w}
	detach(cmd)
	if acct != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(acct.uid), Gid: uint32(acct.gid)}
	}
	if err := cmd.Start(); err != nil {
		r.Close()
		return nil, err
	}

	return &process{name: name, keeper: k, cmd: cmd, life: r}, nil
}

// exited waits at most limit for the end of the process and all its children.
func (p *process) exited(limit time.Duration) bool {
	if err := p.life.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return true
	}
	_, err := p.life.Read(make([]byte, 1))

	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// signal is a best effort: the process may be gone.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// reap collects a process that has exited.
func (p *process) reap() error {
	p.life.Close()
	err := p.cmd.Wait()
	// The number may now become somebody else's, whom the keeper must not kill.
	_, _ = p.keeper.pipe.WriteString("\n")

	return err
}

// end sends sig, and SIGKILL when that does not help within limit.
func (p *process) end(sig syscall.Signal, limit time.Duration) error {
	p.signal(sig)
	if !p.exited(limit) {
		p.signal(syscall.SIGKILL)
		if !p.exited(limit) {
			return fmt.Errorf("%s: processes left after SIGKILL", p.name)
		}
	}
	_ = p.reap() // its exit status says what we did to it

	return nil
}

// detach keeps Ctrl-C, which goes to all of a terminal's session, away from cmd.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// killAll ends a detached cmd and its children. They may be gone.
func killAll(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
