// Command container runs PostgreSQL or Redis in a container, for package pgtest
// on a machine that has a Docker engine and no server of its own:
//
//	go run . [-image NAME] [-durable] [-set NAME=VALUE]... postgres|redis
//
// It prints one line of JSON, {"url": …, "source": …}, and stops the container
// when its standard input ends. testcontainers-go's reaper removes the container
// should this program be killed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/lifeguard-go/lifeguard/pgtest/container/internal/serve"
)

const (
	postgresImage = "postgres:17-alpine"
	redisImage    = "redis:7-alpine"
	startTimeout  = 3 * time.Minute // the pull of the image included
)

func main() {
	var settings []string
	image := flag.String("image", "", "image to run (default "+postgresImage+" or "+redisImage+")")
	durable := flag.Bool("durable", false, "postgres: keep fsync and full_page_writes on")
	flag.Func("set", "setting of the server, as `name=value`; may be repeated", func(text string) error {
		if name, _, found := strings.Cut(text, "="); !found || name == "" {
			return errors.New("not name=value")
		}
		settings = append(settings, text)
		return nil
	})
	flag.Parse()

	var s service
	switch flag.Arg(0) {
	case "postgres":
		s = postgres(settings, *durable)
	case "redis":
		s = redis(settings)
	default:
		flag.Usage()
		os.Exit(2)
	}
	if *image != "" {
		s.image = *image
	}
	serve.Until(s.start)
}

// service is a server that a container can hold.
type service struct {
	image   string
	port    string // as Docker writes it: "5432/tcp"
	url     string // with %s for host and port
	command []string
	env     map[string]string
	tmpfs   map[string]string
	ready   wait.Strategy
}

func postgres(settings []string, durable bool) service {
	s := service{
		image:   postgresImage,
		port:    "5432/tcp",
		url:     "postgres://postgres@%s/postgres?sslmode=disable",
		command: []string{"postgres"},
		env: map[string]string{
			"POSTGRES_HOST_AUTH_METHOD": "trust",
			"POSTGRES_INITDB_ARGS":      "--no-sync --no-locale -E UTF8",
		},
		// The image starts a first server to initialise, then the real one.
		ready: wait.ForAll(
			wait.ForLog("database system is ready to accept connections").WithOccurrence(2),
			wait.ForListeningPort("5432/tcp"),
		),
	}
	if !durable {
		settings = append([]string{"fsync=off", "full_page_writes=off"}, settings...)
		s.tmpfs = map[string]string{"/var/lib/postgresql/data": "rw"}
	}
	for _, setting := range settings {
		s.command = append(s.command, "-c", setting)
	}

	return s
}

func redis(settings []string) service {
	s := service{
		image:   redisImage,
		port:    "6379/tcp",
		url:     "redis://%s/0",
		command: []string{"redis-server", "--save", "", "--appendonly", "no"},
		ready:   wait.ForListeningPort("6379/tcp"),
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		s.command = append(s.command, "--"+name, value)
	}

	return s
}

func (s service) start(ctx context.Context) (serve.Address, func() error, error) {
	ctr, err := testcontainers.Run(ctx, s.image,
		testcontainers.WithExposedPorts(s.port),
		testcontainers.WithEnv(s.env),
		testcontainers.WithTmpfs(s.tmpfs),
		testcontainers.WithCmd(s.command...),
		testcontainers.WithWaitStrategyAndDeadline(startTimeout, s.ready),
	)
	stop := func() error { return testcontainers.TerminateContainer(ctr) }
	if err != nil {
		return serve.Address{}, nil, errors.Join(fmt.Errorf("%s: %w", s.image, err), stop())
	}
	endpoint, err := ctr.PortEndpoint(ctx, s.port, "")
	if err != nil {
		return serve.Address{}, nil, errors.Join(err, stop())
	}
	address := serve.Address{
		URL:    fmt.Sprintf(s.url, endpoint),
		Source: s.image + " in a container on " + endpoint,
	}

	return address, stop, nil
}
