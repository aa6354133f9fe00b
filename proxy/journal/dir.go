package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tokenrelay/shared/journalfile"
)

// Identity returns the identity of a data folder and makes it if there is none.
func Identity(dir string) (Ident, error) {
	sub := filepath.Join(dir, subdir)
	if err := os.MkdirAll(sub, 0o700); err != nil {
		return Ident{}, fmt.Errorf("cannot make journal folder: %w", err)
	}
	path := filepath.Join(sub, "identity")
	id, err := journalfile.ReadIdentity(path)
	if !errors.Is(err, os.ErrNotExist) {
		return id, err
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return Ident{}, fmt.Errorf("cannot make a journal id: %w", err)
	}
	jid := hex.EncodeToString(b[:])
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "proxy"
	}
	// A link of a synced file appears whole or not at all, and only one of two
	// racing processes makes it.
	tmp := filepath.Join(sub, "identity-"+jid[:8]+".tmp")
	text := "token relay proxy\njournal " + jid + "\nname " + host + "-" + jid[:8] + "\n"
	if err := writeSynced(tmp, []byte(text)); err != nil {
		return Ident{}, fmt.Errorf("cannot write identity: %w", err)
	}
	err = os.Link(tmp, path)
	_ = os.Remove(tmp)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return Ident{}, fmt.Errorf("cannot write identity: %w", err)
	}
	if err := syncDir(sub); err != nil {
		return Ident{}, fmt.Errorf("cannot write identity: %w", err)
	}
	return journalfile.ReadIdentity(path)
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Dir is a data folder locked by this process.
type Dir struct {
	Path  string
	Ident Ident

	lock *os.File
}

// lockPoll is how often a waiting Claim asks for the lock again: flock cannot be
// waited for together with a context.
const lockPoll = 100 * time.Millisecond

// Claim locks the data folder for this process and reads its identity. While
// another process holds the folder it waits until ctx ends, then returns ErrInUse;
// an already ended ctx asks once. Claim the folder before claiming a proxy slot,
// so that a second process on the same folder never fences the first.
func Claim(ctx context.Context, dir string) (*Dir, error) {
	id, err := Identity(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, subdir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock: %w", err)
	}
	for {
		ok, err := tryLock(f)
		if ok {
			return &Dir{Path: dir, Ident: id, lock: f}, nil
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
		}
		t := time.NewTimer(lockPoll)
		select {
		case <-ctx.Done():
			t.Stop()
			_ = f.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", dir, ErrInUse)
		case <-t.C:
		}
	}
}

// Close releases the lock. Journal.Close does it for a Dir given to Open.
func (d *Dir) Close() error { return d.lock.Close() }

func (d *Dir) file(name string) string { return filepath.Join(d.Path, subdir, name) }
