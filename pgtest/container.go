package pgtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// helperModule is a module of its own, so that testcontainers-go and miniredis,
// with all that they need, stay out of the go.sum of who imports pgtest. Its
// programs are run from source, say where their server is in one line of JSON,
// and stop it when their standard input ends: with this process, at the latest.
const helperModule = "github.com/lifeguard-go/lifeguard/pgtest/container"

// helper is a running program of helperModule.
type helper struct {
	url    string
	source string
	cmd    *exec.Cmd
	stdin  *os.File // the write end; closing it stops the program
	output *os.File // the read end, kept open so that a late line does not kill it
}

// startContainer starts "postgres" or "redis" in a container.
func startContainer(ctx context.Context, kind string, args ...string) (*helper, error) {
	if err := dockerAnswers(ctx); err != nil {
		return nil, err
	}
	h, err := startHelper(ctx, ".", append(args, kind)...)
	if err != nil {
		return nil, fmt.Errorf("a Docker engine answers, but: %w", err)
	}

	return h, nil
}

// dockerAnswers asks the command line, not the socket: it knows about contexts,
// Colima, rootless engines, and DOCKER_HOST.
func dockerAnswers(ctx context.Context) error {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return errors.New("no docker on PATH")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, docker, "version", "--format", "{{.Server.Version}}")
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return errors.New("no Docker engine answers")
	}

	return nil
}

// startHelper runs a program of helperModule and reads where its server is.
func startHelper(ctx context.Context, program string, args ...string) (*helper, error) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return nil, errors.New("no go command to run " + helperModule + " with")
	}
	dir, err := helperDir(ctx, goTool)
	if err != nil {
		return nil, err
	}

	stdin, toProgram, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	output, fromProgram, err := os.Pipe()
	if err != nil {
		toProgram.Close()
		return nil, err
	}
	defer fromProgram.Close()

	cmd := exec.Command(goTool, append([]string{"run", program}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "PWD="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, fromProgram, fromProgram
	detach(cmd)
	h := &helper{cmd: cmd, stdin: toProgram, output: output}
	if err := cmd.Start(); err != nil {
		toProgram.Close()
		output.Close()
		return nil, err
	}
	fromProgram.Close()
	hold(toProgram, output)

	if err := h.readAddress(ctx); err != nil {
		killAfter := stopLimit
		if ctx.Err() != nil {
			killAfter = time.Second // it may be compiling, and not read its input yet
		}
		return nil, errors.Join(err, h.stopWithin(killAfter))
	}

	return h, nil
}

// readAddress reads lines up to the one in JSON. What comes before, the messages
// of the compiler and of testcontainers-go, explains why there is none.
func (h *helper) readAddress(ctx context.Context) error {
	// Reading ends with ctx.
	defer context.AfterFunc(ctx, func() { _ = h.output.SetReadDeadline(time.Now()) })()

	var last string
	lines := bufio.NewScanner(h.output)
	for lines.Scan() {
		var address struct{ URL, Source string }
		if json.Unmarshal(lines.Bytes(), &address) == nil && address.URL != "" {
			h.url, h.source = address.URL, address.Source
			return nil
		}
		if text := strings.TrimSpace(lines.Text()); text != "" && !strings.HasPrefix(text, "exit status ") {
			last = text
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}

	return fmt.Errorf("%s (go run %s)", last, helperModule)
}

func (h *helper) stop() error { return h.stopWithin(stopLimit) }

func (h *helper) stopWithin(limit time.Duration) error {
	letGo(h.stdin)
	defer letGo(h.output)
	timer := time.AfterFunc(limit, func() { killAll(h.cmd) })
	defer timer.Stop()
	// The exit status adds nothing: a program that failed has said so.
	var exit *exec.ExitError
	if err := h.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("pgtest: stop %s: %w", h.source, err)
	}

	return nil
}

// helperDir finds the source of helperModule: beside this file in a checkout, or
// where the go command has it for a module that requires it.
func helperDir(ctx context.Context, goTool string) (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok {
		dir := filepath.Join(filepath.Dir(file), "container")
		if info, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && info.Mode().IsRegular() {
			return dir, nil
		}
	}
	out, err := exec.CommandContext(ctx, goTool, "list", "-m", "-f", "{{.Dir}}", helperModule).Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		return dir, nil
	}

	return "", errors.New("not in this module (go get -tool " + helperModule + ")")
}

func (o Options) containerArgs() []string {
	args := settingArgs(o.Settings)
	if o.Durable {
		args = append(args, "-durable")
	}

	return args
}

// settingArgs are the settings for the container program.
func settingArgs(settings map[string]string) []string {
	var args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-set", name+"="+settings[name])
	}

	return args
}
