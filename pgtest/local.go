package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	pollEvery = 5 * time.Millisecond // how often a starting server is looked at
	stopLimit = 20 * time.Second     // then a process that does not end is killed
	portTries = 10
)

// local is a server that runs from local binaries. Its directory, removed with
// it, holds data, the server's log, and its Unix socket:
//
//	              launch                     halt, kill
//	(filled) ──────────────▶ running ──────────────────────▶ down
//	                            ▲                             │ │
//	                            └────── launchSamePort ───────┘ │ stop
//	                                                            ▼
//	                                                        (removed)
//
// Nothing here is safe for concurrent use: Server's mutex sees to that.
type local struct {
	inst    *installation
	acct    *account // who runs it, nil for this process's own user
	keeper  *keeper
	running *process // nil while down
	port    int
	log     io.Writer
}

// startLocal fills a data directory and starts a server on it.
func startLocal(ctx context.Context, opts Options, inst *installation) (*local, error) {
	acct, err := dropTo()
	if err != nil {
		return nil, err
	}
	if !acct.canEnter(inst.dir) {
		return nil, fmt.Errorf("the user %s, who runs it in place of root, cannot enter that folder", acct.name)
	}

	return startOn(ctx, opts, inst, acct, func(l *local) error {
		return fillData(ctx, l.data(), opts.CacheDir, inst, acct)
	})
}

// startOn starts a server on a data directory that fill makes.
func startOn(ctx context.Context, opts Options, inst *installation, acct *account, fill func(*local) error) (_ *local, err error) {
	dir, err := serverDir(acct, opts.Durable)
	if err != nil {
		return nil, err
	}
	k, err := keep(dir, "QUIT")
	if err != nil {
		return nil, err
	}
	l := &local{inst: inst, acct: acct, keeper: k, log: opts.Log}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.stop())
		}
	}()

	if err := acct.own(dir); err != nil {
		return nil, err
	}
	if err := fill(l); err != nil {
		return nil, err
	}
	if err := l.configure(opts); err != nil {
		return nil, err
	}

	if err := l.launchAnyPort(ctx); err != nil {
		return nil, err
	}

	return l, nil
}

// serverDir names a folder for a server, in a place that acct can pass through:
// in memory, unless somebody chose a place or wants what a disk does.
func serverDir(acct *account, durable bool) (string, error) {
	parents := []string{os.TempDir(), "/tmp", "/var/tmp"}
	if memory := memoryDir(); memory != "" && os.Getenv("TMPDIR") == "" && !durable {
		parents = append([]string{memory}, parents...)
	}
	for _, parent := range parents {
		if isDir(parent) && acct.canEnter(parent) {
			return filepath.Join(parent, "lifeguard-pgtest-"+strings.ToLower(rand.Text()[:12])), nil
		}
	}

	return "", fmt.Errorf("the user %s can enter neither %s nor /tmp", acct.name, os.TempDir())
}

func (l *local) data() string    { return filepath.Join(l.keeper.dir, "data") }
func (l *local) logFile() string { return filepath.Join(l.keeper.dir, "log") }

// configure writes the settings into postgresql.conf, not onto the command line,
// where they would win over ALTER SYSTEM.
func (l *local) configure(opts Options) error {
	settings := map[string]string{}
	if !opts.Durable {
		// Both matter only when the machine goes down. synchronous_commit stays on:
		// without fsync it costs nothing that could be measured (13.6k inserts a
		// second with and without), and a killed server would forget commits that
		// it had acknowledged, which a test of faults would blame on its own code.
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
		// Shared memory in the data directory goes with it, even after a kill -9.
		settings["dynamic_shared_memory_type"] = "mmap"
	}
	for name, value := range opts.Settings {
		settings[strings.ToLower(name)] = value
	}

	var conf strings.Builder
	conf.WriteString("\n# pgtest\n")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&conf, "%s = '%s'\n", name, confEscape.Replace(settings[name]))
	}
	f, err := os.OpenFile(filepath.Join(l.data(), "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(conf.String())

	return errors.Join(err, f.Close())
}

var confEscape = strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`) //nolint:gochecknoglobals // a constant table

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

// checkNames keeps a wrong name from becoming another line of postgresql.conf.
func checkNames(settings map[string]string) error {
	for name := range settings {
		if !settingName.MatchString(name) {
			return fmt.Errorf("pgtest: %q is not the name of a setting", name)
		}
	}

	return nil
}

// errPortTaken says that another process was faster to bind the port.
var errPortTaken = errors.New("port in use")

// launchAnyPort starts the server on a free port. The port is free when it is
// chosen, not when the server binds it, hence the tries.
func (l *local) launchAnyPort(ctx context.Context) error {
	var err error
	for range portTries {
		if l.port, err = freePort(); err != nil {
			return err
		}
		if err = l.launch(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}

	return err
}

// launchSamePort starts a server that is down where its clients look for it.
func (l *local) launchSamePort(ctx context.Context) error {
	for {
		err := l.launch(ctx)
		if !errors.Is(err, errPortTaken) || ctx.Err() != nil {
			return err
		}
	}
}

// freePort is a variable for the test of a clash.
//
//nolint:gochecknoglobals // a test changes it
var freePort = func() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()

	return listener.Addr().(*net.TCPAddr).Port, nil //nolint:errcheck // of a TCP listener
}

// status reads postmaster.pid, which is the server's word about itself: line 1
// is its process, line 8 says "ready". A connection would not do: after a clash
// of ports it would reach the server of somebody else.
func (l *local) status() (pid string, ready bool) {
	text, err := os.ReadFile(filepath.Join(l.data(), "postmaster.pid"))
	if err != nil {
		return "", false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 {
		return lines[0], false
	}

	return lines[0], strings.TrimSpace(lines[7]) == "ready"
}

// failure explains a server that ended instead of starting.
func (l *local) failure(cause error, logStart int64) error {
	log := tailFrom(l.logFile(), logStart)
	if strings.Contains(log, "could not bind") || strings.Contains(log, "could not create any TCP/IP sockets") {
		return fmt.Errorf("%w: %d", errPortTaken, l.port)
	}

	return fmt.Errorf("the server ended at once (%w), its log:\n%s", cause, log)
}

func tail(file string) string { return tailFrom(file, 0) }

// tailFrom returns the last lines of a file, of those after start.
func tailFrom(file string, start int64) string {
	const most = 2048
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	text = text[min(start, int64(len(text))):]
	if len(text) > most {
		text = text[len(text)-most:]
	}

	return strings.TrimSpace(string(text))
}

func size(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}

	return info.Size()
}
