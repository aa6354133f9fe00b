// Command run is what `make run` starts: a whole Token Relay in the foreground, from
// Postgres to a curl line that works, and its orderly end.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"tokenrelay/shared/config"
)

func init() {
	// A parent-death signal is sent when the thread that started the child ends, so
	// everything is started from one thread that lives as long as the launcher.
	runtime.LockOSThread()
}

func main() {
	if err := run(); err != nil {
		say("make run: " + err.Error())
		os.Exit(1)
	}
}

// launcher is one run.
type launcher struct {
	bin     string            // folder of the built binaries
	data    string            // RELAY_DATA_DIR
	env     map[string]string // what children get, settings included
	kept    map[string]string // run.env
	proxy   *config.Proxy
	admin   *config.Admin
	started []*child // in the order of their start
	died    chan *child
	hurry   chan struct{} // closed by a second signal
	private bool          // Postgres is ours, in the data folder
	ours    bool          // the catalogue in the database is one that make run may change
}

// run is the whole way, top to bottom.
func run() (err error) {
	began := time.Now()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	l := &launcher{bin: "bin", died: make(chan *child, 8), hurry: make(chan struct{})}
	go l.watch(signals, stop)
	endWithMake()

	if err := l.prepare(); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(l.data, "run.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.readKept(); err != nil {
		return err
	}

	pg, err := l.startPostgres(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	var pgEnded <-chan struct{}
	if pg != nil {
		pgEnded = pg.Done()
		defer func() { err = errors.Join(err, l.stopPostgres(pg)) }()
	}
	defer l.stopAll()
	if err := l.settings(); err != nil {
		return err
	}
	if err := l.portsFree(); err != nil {
		return err
	}
	if _, err := l.command(ctx, "", "migrate"); err != nil {
		return ended(ctx, err)
	}
	standing, err := l.exported(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	fresh := len(standing.Models) == 0
	l.ours = fresh || l.private || l.kept[config.RunDatabase] == l.databaseID()
	mock := ""
	if l.ours {
		if mock, err = l.startMock(ctx); err != nil {
			return ended(ctx, err)
		}
		if err := l.catalogue(ctx, standing, mock); err != nil {
			return ended(ctx, err)
		}
	}
	if err := l.startServers(ctx); err != nil {
		return ended(ctx, err)
	}
	if l.ours {
		if err := l.demo(ctx, fresh); err != nil {
			return ended(ctx, err)
		}
	}
	l.banner(mock != "", time.Since(began))

	select {
	case <-ctx.Done():
		say("\nstopping; once more Ctrl-C stops without waiting")
		return nil
	case c := <-l.died:
		return c.deathError()
	case <-pgEnded:
		return errors.New("the private Postgres ended by itself, stopping the rest; its log is in " + filepath.Join(l.data, "postgres"))
	}
}

// watch turns the first signal into an orderly end and the second into a quick one.
func (l *launcher) watch(signals <-chan os.Signal, stop context.CancelFunc) {
	<-signals
	stop()
	<-signals
	close(l.hurry)
}

// ended makes a start that a signal broke off a plain end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func say(line string) { _, _ = os.Stderr.WriteString(line + "\n") }

// prepare finds the binaries and makes the data folder.
func (l *launcher) prepare() error {
	l.env = environ()
	for _, name := range []string{"admin", "proxy", "mockllm"} {
		if _, err := os.Stat(filepath.Join(l.bin, name)); err != nil {
			return fmt.Errorf("cannot find %s: start this through make run, which builds it", filepath.Join(l.bin, name))
		}
	}
	l.data = l.env["RELAY_DATA_DIR"]
	if l.data == "" {
		l.data = config.DefaultDataDir
	}
	// Others may pass through it, because a private Postgres of root runs as another
	// user; the files inside are closed by themselves.
	if err := os.MkdirAll(filepath.Join(l.data, "log"), 0o711); err != nil {
		return fmt.Errorf("cannot make the data folder: %w", err)
	}
	for _, name := range config.UnknownEnv(os.Environ()) {
		say("warning: the environment has " + name + ", which is no setting of Token Relay")
	}
	return nil
}

// readKept reads run.env and makes what it lacks.
func (l *launcher) readKept() error {
	kept, err := config.ReadRunEnv(l.data)
	switch {
	case errors.Is(err, os.ErrNotExist):
		kept = map[string]string{}
	case err != nil:
		return err
	}
	l.kept = kept
	if l.env["RELAY_SECRET_KEY"] == "" && l.env["RELAY_SECRET_KEY_FILE"] == "" {
		if kept["RELAY_SECRET_KEY"] == "" {
			kept["RELAY_SECRET_KEY"] = base64.StdEncoding.EncodeToString(random(32))
		}
		l.env["RELAY_SECRET_KEY"] = kept["RELAY_SECRET_KEY"]
	} else if given := l.env["RELAY_SECRET_KEY"]; given != "" {
		kept["RELAY_SECRET_KEY"] = given // for operator commands in another shell
	}
	return l.keep()
}

// keep writes run.env.
func (l *launcher) keep() error { return config.WriteRunEnv(l.data, l.kept) }

// settings reads what the children will read, so that a wrong value ends the start
// here, by name.
func (l *launcher) settings() error {
	if url := l.env["RELAY_DATABASE_URL"]; url != "" {
		l.kept["RELAY_DATABASE_URL"] = url
	}
	if err := l.keep(); err != nil {
		return err
	}
	l.setDefault("RELAY_LOG_FORMAT", "text")
	// There is no load balancer in front of a demo that would have to notice.
	l.setDefault("RELAY_DRAIN_DELAY", "0s")
	l.setDefault("RELAY_DRAIN_GRACE", "30s")
	lookup := func(name string) (string, bool) { v, ok := l.env[name]; return v, ok }
	var err error
	if l.proxy, err = config.LoadProxy(nil, lookup); err != nil {
		return err
	}
	// The proxy forwards to the admin that is started here, whatever its port.
	l.admin = new(config.Admin)
	if _, err := config.AdminSet("admin", l.admin).Parse(nil, lookup); err != nil {
		return err
	}
	l.setDefault("RELAY_ADMIN_URL", "http://"+reachable(l.admin.Listen))
	l.setDefault("RELAY_PUBLIC_URL", "http://"+reachable(l.proxy.Listen))
	return nil
}

func (l *launcher) setDefault(name, value string) {
	if l.env[name] == "" {
		l.env[name] = value
	}
}

// reachable is an address to connect to for one to listen on.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// portsFree says which setting to change before anything is started on a taken port.
func (l *launcher) portsFree() error {
	for _, p := range []struct{ name, addr string }{
		{"RELAY_LISTEN", l.proxy.Listen},
		{"RELAY_INTERNAL_LISTEN", l.proxy.InternalListen},
		{"RELAY_ADMIN_LISTEN", l.admin.Listen},
		{"RELAY_ADMIN_INTERNAL_LISTEN", l.admin.InternalListen},
	} {
		ln, err := net.Listen("tcp", p.addr)
		if err != nil {
			return fmt.Errorf("cannot listen on %s (%w): is another one running? %s names another address", p.addr, err, p.name)
		}
		_ = ln.Close() // only tried
	}
	return nil
}

// lock holds a file lock until the process ends, so that two runs do not share a
// data folder.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another make run holds %s: stop it, or set RELAY_DATA_DIR and the ports", path)
	}
	return func() { _ = f.Close() }, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}
