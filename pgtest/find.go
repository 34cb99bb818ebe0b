package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// installation is a folder that holds both postgres and initdb.
type installation struct {
	dir     string
	version string // as postgres --version prints it, the cache's key
	major   int
	minor   int
}

// release is the version for humans.
func (i *installation) release() string { return fmt.Sprintf("%d.%d", i.major, i.minor) }

func (i *installation) program(name string) string { return filepath.Join(i.dir, executable(name)) }

func executable(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}

	return name
}

// usualFolders are patterns of the folders into which packages put servers that
// they keep off PATH.
func usualFolders() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{
			filepath.Join(os.Getenv("ProgramFiles"), "PostgreSQL", "*", "bin"),
			filepath.Join(os.Getenv("ProgramFiles(x86)"), "PostgreSQL", "*", "bin"),
		}
	case "darwin":
		return []string{
			"/opt/homebrew/opt/postgresql@*/bin",
			"/usr/local/opt/postgresql@*/bin",
			"/Applications/Postgres.app/Contents/Versions/*/bin",
			"/Library/PostgreSQL/*/bin",
			"/opt/local/lib/postgresql*/bin",
		}
	default:
		return []string{
			"/usr/lib/postgresql/*/bin",
			"/usr/pgsql-*/bin",
			"/usr/bin",
			"/usr/libexec/postgresql*",
			"/usr/local/pgsql/bin",
			"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
		}
	}
}

// folders is a variable for the tests of a machine without PostgreSQL.
var folders = usualFolders() //nolint:gochecknoglobals // a test changes it

// findPostgres returns the server binaries to use, or nil and the places where
// there were none. It fails when LIFEGUARD_PG_BIN is set and wrong: who sets it
// does not want another server.
func findPostgres(ctx context.Context) (*installation, []string, error) {
	return findPostgresIn(ctx, os.Getenv(envBin), os.Getenv("PATH"), folders)
}

func findPostgresIn(ctx context.Context, named, path string, folders []string) (*installation, []string, error) {
	if named != "" {
		dir := named
		if strings.TrimSuffix(filepath.Base(dir), ".exe") == "postgres" && !isDir(dir) {
			dir = filepath.Dir(dir)
		}
		inst, err := inspect(ctx, dir)
		if err != nil {
			return nil, nil, fmt.Errorf("pgtest: %s=%s: %w", envBin, named, err)
		}
		return inst, nil, nil
	}
	looked := []string{envBin + " is not set"}

	for _, dir := range filepath.SplitList(path) {
		if inst, err := inspect(ctx, dir); err == nil {
			return inst, nil, nil
		}
	}
	looked = append(looked, "no postgres with initdb beside it on PATH")

	var newest *installation
	for _, pattern := range folders {
		dirs, _ := filepath.Glob(pattern) // the only error is a bad pattern
		for _, dir := range dirs {
			inst, err := inspect(ctx, dir)
			if err != nil {
				continue
			}
			if newest == nil || inst.major > newest.major || inst.major == newest.major && inst.minor > newest.minor {
				newest = inst
			}
		}
	}
	if newest == nil {
		looked = append(looked, "none in "+strings.Join(folders, ", "))
	}

	return newest, looked, ctx.Err()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "… 19beta1", "… 18devel".
var versionPattern = regexp.MustCompile(`PostgreSQL\) (\d+)(?:\.(\d+))?`)

// inspect asks the postgres in dir for its version, and wants initdb beside it.
func inspect(ctx context.Context, dir string) (*installation, error) {
	if dir == "" {
		return nil, errors.New("no folder")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	inst := &installation{dir: dir}
	if err := inst.whole(); err != nil {
		return nil, err
	}
	// Folders on PATH often hold links; say where the programs really are.
	if target, err := filepath.EvalSymlinks(inst.program("postgres")); err == nil {
		if real := (&installation{dir: filepath.Dir(target)}); real.whole() == nil {
			inst = real
		}
	}

	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, inst.program("postgres"), "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("postgres --version: %w", err)
	}
	inst.version = strings.TrimSpace(string(out))
	match := versionPattern.FindStringSubmatch(inst.version)
	if match == nil {
		return nil, fmt.Errorf("postgres --version printed %.80q", inst.version)
	}
	inst.major, _ = strconv.Atoi(match[1])
	inst.minor, _ = strconv.Atoi(match[2])

	return inst, nil
}

// whole reports what is missing from the folder.
func (i *installation) whole() error {
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := exec.LookPath(i.program(name)); err != nil {
			return fmt.Errorf("no executable %s in it", executable(name))
		}
	}

	return nil
}

func remedyPostgres() string {
	return "Install PostgreSQL (" + install("postgresql", "postgresql@17", "PostgreSQL.PostgreSQL.17") +
		"; it need not run), or set " + envDSN
}

// install is the command of this machine's package manager.
func install(linux, brew, winget string) string {
	switch runtime.GOOS {
	case "darwin":
		return "brew install " + brew
	case "windows":
		return "winget install " + winget
	}
	for _, manager := range []struct{ program, command string }{
		{"apt-get", "apt-get install " + linux},
		{"dnf", "dnf install " + linux + "-server"},
		{"apk", "apk add " + linux},
		{"pacman", "pacman -S " + linux},
	} {
		if _, err := exec.LookPath(manager.program); err == nil {
			return manager.command
		}
	}

	return "the package " + linux
}
