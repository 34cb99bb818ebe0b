package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The folders come in through the environment: PowerShell's quoting is its own.
const keeperScript = `
[Console]::In.ReadToEnd() | Out-Null
$data = Join-Path $env:PGTEST_DIR 'data'
for ($i = 0; $i -lt 30 -and (Test-Path -LiteralPath $env:PGTEST_DIR); $i++) {
	if (Test-Path -LiteralPath $env:PGTEST_CTL_FILE) {
		$ctl = Get-Content -LiteralPath $env:PGTEST_CTL_FILE
		& $ctl stop -D $data -m immediate 2>$null | Out-Null
	}
	Remove-Item -Recurse -Force -LiteralPath $env:PGTEST_DIR -ErrorAction SilentlyContinue
	if (Test-Path -LiteralPath $env:PGTEST_DIR) { Start-Sleep -Milliseconds 200 }
}
`

// keeperCommand is the keeper of a directory. This is a best effort: it finds the server by its
// data directory, so a kill while initdb runs, or while the server starts, may leave a folder
// behind.
func keeperCommand(dir, _ string) *exec.Cmd {
	cmd := exec.Command("powershell.exe", "-NoProfile", "-NonInteractive", "-Command", keeperScript)
	cmd.Env = append(os.Environ(), "PGTEST_DIR="+dir, "PGTEST_CTL_FILE="+filepath.Join(dir, ctlFile))
	return cmd
}

// ctlFile names pg_ctl for the keeper; launch writes it.
const ctlFile = "pg_ctl.path"

// process is a child under a keeper.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when err is set
	err  error
}

func (k *keeper) start(cmd *exec.Cmd, _ *account) (*process, error) {
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()

	return p, nil
}

func (p *process) exited(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

func (p *process) reap() error {
	<-p.done
	return p.err
}

// end kills: Windows has no signals.
func (p *process) end(_ syscall.Signal, limit time.Duration) error {
	_ = p.cmd.Process.Kill() // it may be gone
	if !p.exited(limit) {
		return fmt.Errorf("%s does not end", p.name)
	}

	return nil
}

// detach keeps Ctrl-C, which goes to all of a console, away from cmd.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}

func killAll(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
