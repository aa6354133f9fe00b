// Package pgtest gives each test a database of its own: one private server per test
// process, one migrated template, and a copy of it per test.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tokenrelay/shared/embedpg"
	"tokenrelay/shared/store"
)

const template = "relay_template"

var (
	once     sync.Once
	server   *embedpg.Server
	startErr error
	count    atomic.Int64
)

// Server starts (once per process) and returns the server that New's databases are on.
// It is shut down with the process; its folder is removed by the next test process.
func Server(t testing.TB) *embedpg.Server {
	t.Helper()
	once.Do(func() {
		// Not t.Context: the server outlives the test that happens to be first.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		server, startErr = start(ctx)
	})
	if startErr != nil {
		t.Fatalf("cannot start the test server: %v", startErr)
	}
	return server
}

func start(ctx context.Context) (*embedpg.Server, error) {
	removeOld()
	// The random part: containers reuse process ids.
	dir, err := os.MkdirTemp("", fmt.Sprintf("relay-pgtest-%d-", os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("cannot make a folder for the test server: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the server's user must reach it
		return nil, fmt.Errorf("cannot make a folder for the test server: %w", err)
	}
	s, err := embedpg.Start(ctx, embedpg.Options{Dir: dir, Throwaway: true, Install: true})
	if err != nil {
		return nil, err
	}
	if err := store.CreateDatabase(ctx, s.SocketURL("postgres"), template, ""); err != nil {
		return nil, err
	}
	return s, store.Migrate(ctx, s.SocketURL(template))
}

// removeOld removes the folders of test processes that have ended. Nothing can run at
// the end of a test process, so the next one does it.
func removeOld() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "relay-pgtest-*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "relay-pgtest-%d", &pid); err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		// Its server may still be going down; young folders are left for the next time.
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 20*time.Second {
			os.RemoveAll(dir)
		}
	}
}

// New makes a database with the current schema and returns its URL. It is dropped at
// the end of the test.
func New(t testing.TB) string {
	t.Helper()
	url, _ := copyOf(t, template)
	return url
}

// Empty makes a database with nothing in it.
func Empty(t testing.TB) string {
	t.Helper()
	url, _ := copyOf(t, "")
	return url
}

func copyOf(t testing.TB, template string) (url, name string) {
	t.Helper()
	s := Server(t)
	name = fmt.Sprintf("t%d", count.Add(1))
	admin := s.SocketURL("postgres")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := store.CreateDatabase(ctx, admin, name, template); err != nil {
		t.Fatalf("cannot make a test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		// A server that the test killed has nothing to drop.
		if err := store.DropDatabase(ctx, admin, name); err != nil && !store.Unavailable(err) {
			t.Errorf("cannot drop the test database: %v", err)
		}
	})
	return s.SocketURL(name), name
}

// Open makes a database and opens it; it is closed at the end of the test.
func Open(t testing.TB, o store.Options) *store.DB {
	t.Helper()
	d, err := store.Open(context.Background(), New(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}
