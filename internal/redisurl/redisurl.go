// Package redisurl reads the URLs of Redis that the settings take: of one server, of a
// master that sentinels name, or of a cluster.
package redisurl

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// errURL quotes nothing of the URL: it may hold a password.
var errURL = errors.New("the URL of Redis must be redis://[user:password@]host[:port][/db], rediss:// the same over TLS, " +
	"redis+sentinel://host:port,host:port/master[/db] or redis+cluster://host:port,host:port")

const dialTimeout = time.Second

// Dialer returns what opens a client, which connects when it is used and tries nothing twice.
// Schemes with an s are over TLS. The error names no part of the URL.
func Dialer(text string) (func() redis.UniversalClient, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return nil, errURL
	}
	scheme = strings.ReplaceAll(scheme, " ", "+") // which it is in the query of another URL
	secure := strings.HasPrefix(scheme, "rediss")
	plain := "redis://"
	if secure {
		plain = "rediss://"
	}
	switch strings.Replace(scheme, "rediss", "redis", 1) {
	case "redis":
		o, err := redis.ParseURL(text)
		if err != nil {
			return nil, errURL // the cause may quote the password
		}
		o.MaxRetries, o.ContextTimeoutEnabled, o.DialTimeout = -1, true, dialTimeout
		o.DialerRetries, o.Dialer = 1, dial(o.TLSConfig)
		o.MaintNotificationsConfig = quietly()
		return func() redis.UniversalClient { return redis.NewClient(o) }, nil
	case "redis+sentinel":
		to, err := sentinels(plain, rest)
		if err != nil {
			return nil, err
		}
		o, err := redis.ParseFailoverURL(to)
		if err != nil || o.MasterName == "" {
			return nil, errURL // the cause may quote the password
		}
		o.MaxRetries, o.ContextTimeoutEnabled, o.DialTimeout = -1, true, dialTimeout
		o.DialerRetries, o.RouteByLatency, o.RouteRandomly, o.ReplicaOnly = 1, false, false, false
		o.Dialer = dial(o.TLSConfig)
		return func() redis.UniversalClient { return redis.NewFailoverClient(o) }, nil
	case "redis+cluster":
		to, err := clusterNodes(plain, rest)
		if err != nil {
			return nil, err
		}
		o, err := redis.ParseClusterURL(to)
		if err != nil {
			return nil, errURL // the cause may quote the password
		}
		o.MaxRetries, o.ContextTimeoutEnabled, o.DialTimeout = -1, true, dialTimeout
		o.DialerRetries, o.ReadOnly, o.RouteByLatency, o.RouteRandomly = 1, false, false, false
		o.Dialer = dial(o.TLSConfig)
		o.MaintNotificationsConfig = quietly()
		return func() redis.UniversalClient { return redis.NewClusterClient(o) }, nil
	}
	return nil, errURL
}

func quietly() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// Where names the hosts of a URL, and nothing else of it.
func Where(text string) string {
	_, rest, _ := strings.Cut(text, "://")
	rest, _, _ = strings.Cut(rest, "?")
	rest, _, _ = strings.Cut(rest, "/")
	return rest[strings.LastIndex(rest, "@")+1:]
}

// Place names the hosts and the database of a URL, or the master, and nothing else of it: the
// same for all who write the address of one Redis the same way.
func Place(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	rest, query, _ := strings.Cut(rest, "?")
	_, path, _ := strings.Cut(rest, "/")
	if values, err := url.ParseQuery(query); err == nil && values.Has("db") {
		path = values.Get("db")
	}
	port := "6379"
	if strings.HasSuffix(scheme, "sentinel") {
		port = "26379"
	}
	hosts := strings.Split(Where(text), ",")
	for i, host := range hosts {
		if _, _, err := net.SplitHostPort(host); err != nil {
			hosts[i] = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
	}
	slices.Sort(hosts)
	return strings.Join(hosts, ",") + "/" + strings.TrimPrefix(path, "0")
}

// parts are those of a URL with a list of hosts, which net/url would not take.
type parts struct {
	user  *url.Userinfo
	hosts []string // each with its port
	path  string
	query url.Values
}

func split(rest, port string) (p parts, err error) {
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	p.path = path
	user := ""
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, authority = authority[:at+1], authority[at+1:]
	}
	u, err := url.Parse("redis://" + user + "host")
	if err != nil {
		return p, errURL // the cause may quote the password
	}
	p.user = u.User
	if p.query, err = url.ParseQuery(query); err != nil {
		return p, errURL // the cause may quote the password
	}
	for host := range strings.SplitSeq(authority, ",") {
		if host == "" {
			return p, errURL
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		p.hosts = append(p.hosts, host)
	}
	return p, nil
}

// url makes a URL of go-redis'.
func (p *parts) url(scheme string) string {
	for _, host := range p.hosts[1:] {
		p.query.Add("addr", host)
	}
	u := url.URL{Scheme: strings.TrimSuffix(scheme, "://"), User: p.user, Host: p.hosts[0], Path: "/" + p.path, RawQuery: p.query.Encode()}
	return u.String()
}

func clusterNodes(scheme, rest string) (string, error) {
	p, err := split(rest, "6379")
	if err != nil || p.path != "" {
		return "", errURL
	}
	return p.url(scheme), nil
}

// sentinels takes the user and password for those of Redis, and those of the sentinels from
// sentinel_username and sentinel_password. go-redis has it the other way round.
func sentinels(scheme, rest string) (string, error) {
	p, err := split(rest, "26379")
	if err != nil {
		return "", err
	}
	master, db, _ := strings.Cut(p.path, "/")
	p.query.Set("master_name", master)
	p.path = db
	if password, ok := p.user.Password(); ok {
		p.query.Set("username", p.user.Username())
		p.query.Set("password", password)
	}
	p.user = nil
	if password := p.query.Get("sentinel_password"); password != "" {
		p.user = url.UserPassword(p.query.Get("sentinel_username"), password)
	}
	p.query.Del("sentinel_username")
	p.query.Del("sentinel_password")
	return p.url(scheme), nil
}
