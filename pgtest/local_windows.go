package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// launch goes through pg_ctl, because postgres refuses to run with the rights of
// an administrator, and pg_ctl knows how to give them up.
func (l *local) launch(ctx context.Context) error {
	program := l.inst.program("pg_ctl")
	if err := os.WriteFile(filepath.Join(l.keeper.dir, ctlFile), []byte(program), 0o600); err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(l.data(), "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conf, "port = %d\nlisten_addresses = '127.0.0.1'\n", l.port)
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}

	logStart := size(l.logFile())
	if err := l.pgCtl(ctx, "start", "-w", "-l", l.logFile()); err != nil {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), l.pgCtl(context.Background(), "stop", "-m", "immediate"))
		}
		return l.failure(err, logStart)
	}
	pid, _ := l.status()
	number, err := strconv.Atoi(pid)
	if err != nil {
		return fmt.Errorf("postmaster.pid: %w", err)
	}
	server, err := os.FindProcess(number)
	if err != nil {
		return err
	}
	l.running = &process{name: "postgres", cmd: &exec.Cmd{Process: server}}

	return nil
}

func (l *local) halt(ctx context.Context, mode StopMode) error {
	if l.running == nil {
		return nil
	}
	name := "immediate"
	if mode == Fast {
		name = "fast"
	}
	if err := l.pgCtl(context.WithoutCancel(ctx), "stop", "-w", "-m", name); err != nil {
		return err
	}
	_ = l.running.cmd.Process.Release()
	l.running = nil

	return l.copyLog()
}

func (l *local) kill() error {
	if l.running == nil {
		return nil
	}
	if err := l.running.cmd.Process.Kill(); err != nil {
		return err
	}
	_, _ = l.running.cmd.Process.Wait() // its status says what we did to it
	l.running = nil

	return l.copyLog()
}

func (l *local) stop() error {
	err := l.halt(context.Background(), Immediate)

	return errors.Join(err, l.keeper.close())
}

// copyLog hands the log to Options.Log when the server is down: a pipe would
// make pg_ctl wait for the server's end.
func (l *local) copyLog() error {
	if l.log == nil {
		return nil
	}
	text, err := os.ReadFile(l.logFile())
	if err != nil {
		return err
	}
	_, err = l.log.Write(text)

	return errors.Join(err, os.Truncate(l.logFile(), 0))
}

// pgCtl runs pg_ctl with its output in no pipe, for the same reason.
func (l *local) pgCtl(ctx context.Context, verb string, args ...string) error {
	cmd := exec.CommandContext(ctx, l.inst.program("pg_ctl"), append([]string{verb, "-s", "-D", l.data()}, args...)...)
	cmd.Dir = l.keeper.dir
	cmd.Env = serverEnv()
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pg_ctl %s: %w", verb, err)
	}

	return nil
}
