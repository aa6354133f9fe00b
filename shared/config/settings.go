package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"time"
)

// DefaultDataDir is RELAY_DATA_DIR's default.
const DefaultDataDir = ".data"

// Common is what both processes need.
type Common struct {
	DatabaseURL    string         // Postgres
	SecretKey      []byte         // 32 bytes; encrypts provider keys at rest
	DataDir        string         // folder of the usage journal and of run.env
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-For is believed
	LogLevel       string         // debug, info, warn, error
	LogFormat      string         // json, text
}

// Proxy is the settings of the data plane.
type Proxy struct {
	Common
	Listen             string // public address
	InternalListen     string // health, metrics, pprof
	InternalURL        string // where other proxies reach InternalListen
	AdminURL           string // where non-inference paths are forwarded
	Name               string // identity of this proxy, "" = host name and an id kept in the data folder
	IPRPM              int64  // requests a minute per client IP, 0 = off
	MaxBody            int64  // bytes of a request body
	CacheMemory        int64  // bytes of answers that may be given again
	MaxHeader          int64  // bytes of request headers
	BodyMemory         int64  // bytes of all request bodies being read or held
	FirstByteTimeout   time.Duration
	StreamStartTimeout time.Duration
	IdleTimeout        time.Duration
	MaxRequest         time.Duration
	WriteStall         time.Duration
	MaxAttempts        int64
	DrainDelay         time.Duration
	DrainGrace         time.Duration
	PublicOperator     bool   // forward /admin/v1
	PrivateWebhooks    bool   // webhooks of customers may stand in own networks
	JournalSync        string // process, group, sync
}

// Admin is the settings of the control plane.
type Admin struct {
	Common
	Listen         string // customer API, operator API, console, docs
	InternalListen string // health, metrics, pprof
	PublicURL      string // the address printed for customers
	OperatorToken  string // bearer token of the operator API, "" = none
	KeyPrefix      string // of newly issued keys
	Brand          string
	Contact        string
	CreditsPerUSD  int64 // credits shown for one USD, 0 = show USD
	SMTPURL        string
	KeepChanges    time.Duration // rows of the change log stay so long
	KeepRefusals   time.Duration // samples of refused requests
	KeepLeases     time.Duration // closed leases
}

var keyPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,16}$`)

func commonSettings(s *Set, c *Common) {
	s.String(&c.DatabaseURL, "RELAY_DATABASE_URL", "", "Postgres, as a URL: postgres://user:password@host/name").Required().Secret()
	s.Key32(&c.SecretKey, "RELAY_SECRET_KEY", "encrypts provider keys at rest; the same for every process").Required()
	s.String(&c.DataDir, "RELAY_DATA_DIR", DefaultDataDir, "folder of the usage journal, of the proxy's identity and of run.env").Required()
	s.Prefixes(&c.TrustedProxies, "RELAY_TRUSTED_PROXIES", "", "CIDRs whose X-Forwarded-For is believed; none by default")
	s.Choice(&c.LogLevel, "RELAY_LOG_LEVEL", "info", "least level that is logged", "debug", "info", "warn", "error")
	s.Choice(&c.LogFormat, "RELAY_LOG_FORMAT", "json", "form of log lines on stderr", "json", "text")
}

func proxySet(p *Proxy) *Set {
	s := New("proxy: the data plane of Token Relay. Serves inference and forwards everything else to admin.")
	s.Listen(&p.Listen, "RELAY_LISTEN", "127.0.0.1:8000", "the public port: inference, and everything else forwarded to admin")
	s.Listen(&p.InternalListen, "RELAY_INTERNAL_LISTEN", "127.0.0.1:8002", "/healthz /readyz /metrics /debug/pprof (pprof answers loopback only)")
	s.URL(&p.InternalURL, "RELAY_INTERNAL_URL", "", "where other proxies reach the internal port; by default http:// and RELAY_INTERNAL_LISTEN")
	s.URL(&p.AdminURL, "RELAY_ADMIN_URL", "http://127.0.0.1:8001", "where non-inference paths are forwarded")
	s.String(&p.Name, "RELAY_PROXY_NAME", "", "identity of this proxy, unique and stable; by default the host name and an id kept in the data folder")
	commonSettings(s, &p.Common)
	s.Int(&p.IPRPM, "RELAY_IP_RPM", "300", "requests a minute per client IP on relay paths, 0 = off", 0, 1e9)
	s.Size(&p.CacheMemory, "RELAY_CACHE_MEMORY", "64MiB", "memory for answers of clients whose policy lets them be given again", 1<<20, 1<<40)
	s.Size(&p.MaxBody, "RELAY_MAX_BODY", "32MiB", "largest request body; beyond: 413", 1<<10, 1<<30)
	s.Size(&p.MaxHeader, "RELAY_MAX_HEADER", "8KiB", "largest request head; beyond: 431", 1<<10, 1<<20)
	s.Size(&p.BodyMemory, "RELAY_BODY_MEMORY", "1GiB", "memory for all request bodies together; beyond: 503 overloaded", 1<<20, 1<<40)
	s.Duration(&p.FirstByteTimeout, "RELAY_FIRST_BYTE_TIMEOUT", "600s", "wait for a provider's buffered answer to begin", time.Millisecond, 24*time.Hour)
	s.Duration(&p.StreamStartTimeout, "RELAY_STREAM_START_TIMEOUT", "120s", "wait for a provider's stream to begin", time.Millisecond, 24*time.Hour)
	s.Duration(&p.IdleTimeout, "RELAY_IDLE_TIMEOUT", "300s", "silence of a provider amid an answer that ends it", time.Millisecond, 24*time.Hour)
	s.Duration(&p.MaxRequest, "RELAY_MAX_REQUEST", "15m", "longest request, all attempts together; a lease outlives its requests by counting on this bound", time.Second, 15*time.Minute)
	s.Duration(&p.WriteStall, "RELAY_WRITE_STALL", "30s", "how long a client may take none of what is written to it", time.Millisecond, time.Hour)
	s.Int(&p.MaxAttempts, "RELAY_MAX_ATTEMPTS", "3", "upstream attempts per request", 1, 8)
	s.Duration(&p.DrainDelay, "RELAY_DRAIN_DELAY", "5s", "on SIGTERM: time between not ready and refusing, for load balancers to notice", 0, time.Hour)
	s.Duration(&p.DrainGrace, "RELAY_DRAIN_GRACE", "5m", "on SIGTERM: time for running requests to finish", 0, 24*time.Hour)
	s.Bool(&p.PublicOperator, "RELAY_PUBLIC_OPERATOR", "on", "forward the operator API (/admin/v1) from the public port")
	s.Bool(&p.PrivateWebhooks, "RELAY_PRIVATE_WEBHOOKS", "off", "webhooks that customers name in their policies may lead to private, loopback and link-local addresses; for own networks and tests only")
	s.Choice(&p.JournalSync, "RELAY_JOURNAL_SYNC", "group", "when the usage journal reaches the disk: process = by the kernel, group = every 5 ms, sync = before the answer ends", "process", "group", "sync")
	return s
}

func adminSet(a *Admin) *Set {
	s := New("admin: the control plane of Token Relay.")
	s.Listen(&a.Listen, "RELAY_ADMIN_LISTEN", "127.0.0.1:8001", "customer API, operator API, console, docs")
	s.Listen(&a.InternalListen, "RELAY_ADMIN_INTERNAL_LISTEN", "127.0.0.1:8003", "/healthz /readyz /metrics /debug/pprof (pprof answers loopback only)")
	s.URL(&a.PublicURL, "RELAY_PUBLIC_URL", "http://127.0.0.1:8000", "the address printed in docs, preflight and mails")
	commonSettings(s, &a.Common)
	s.String(&a.OperatorToken, "RELAY_OPERATOR_TOKEN", "", "bearer token of the operator API, besides operator accounts").Secret()
	s.add("RELAY_KEY_PREFIX", "text", "tsk_", "prefix of newly issued keys; never checked on use", func(v string) error {
		if !keyPrefix.MatchString(v) {
			return errors.New("must be 1 to 16 of A-Z a-z 0-9 - _")
		}
		a.KeyPrefix = v
		return nil
	})
	s.String(&a.Brand, "RELAY_BRAND", "Token Relay", "the name that pages carry")
	s.String(&a.Contact, "RELAY_CONTACT", "", "where customers ask for help: a mail address or a URL")
	s.Int(&a.CreditsPerUSD, "RELAY_CREDITS_PER_USD", "0", "show amounts as credits, so many for one USD; 0 shows USD", 0, 1e9)
	s.String(&a.SMTPURL, "RELAY_SMTP_URL", "", "mail server for alerts: smtp://user:password@host:587").Secret()
	s.Duration(&a.KeepChanges, "RELAY_KEEP_CHANGES", "720h", "how long changes of the configuration stay listed for proxies that were away; beyond, they read everything again", time.Hour, 10*365*24*time.Hour)
	s.Duration(&a.KeepRefusals, "RELAY_KEEP_REFUSALS", "2160h", "how long samples of refused requests stay; they are counted for ever", time.Hour, 10*365*24*time.Hour)
	s.Duration(&a.KeepLeases, "RELAY_KEEP_LEASES", "2160h", "how long closed leases stay, and never less than the usage of their month", 24*time.Hour, 10*365*24*time.Hour)
	return s
}

// ProxySet declares the proxy's settings onto p.
func ProxySet(p *Proxy) *Set { return proxySet(p) }

// AdminSet declares admin's settings onto a. The commands of the admin binary add
// their own flags to it (a name without RELAY_) and replace the usage line.
func AdminSet(usage string, a *Admin) *Set {
	s := adminSet(a)
	s.usage = usage
	return s
}

// LoadProxy reads the proxy's settings from the process's flags and environment.
func LoadProxy(args []string, env Lookup) (*Proxy, error) {
	p := new(Proxy)
	rest, err := proxySet(p).Parse(args, env)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("unexpected argument %q: the proxy takes flags only", rest[0])
	}
	if p.InternalURL == "" {
		p.InternalURL = "http://" + p.InternalListen
	}
	if p.FirstByteTimeout > p.MaxRequest {
		p.FirstByteTimeout = p.MaxRequest
	}
	if p.StreamStartTimeout > p.MaxRequest {
		p.StreamStartTimeout = p.MaxRequest
	}
	return p, nil
}

// Fatal ends a process whose settings cannot be used: help goes to stdout with exit
// code 0, anything else is one line on stderr with exit code 2.
func Fatal(process string, err error) {
	var help *HelpError
	if errors.As(err, &help) {
		_, _ = os.Stdout.WriteString(help.Text)
		os.Exit(0)
	}
	_, _ = os.Stderr.WriteString(process + ": " + err.Error() + "\n")
	os.Exit(2)
}
