package apptest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
)

// Host lets a command use the kit: it stands for the test. Made by Command.
type Host struct {
	testing.TB // nil: what is not below is not used by the kit

	mu       sync.Mutex
	cleanups []func()
	failed   bool
}

// gaveUp is what a failure of the kit throws; Command catches it.
type gaveUp struct{ why string }

// Command runs a function that may start programs with the kit. They end when it
// returns, when the kit gives up, which is the error then, and when the command is
// interrupted, which ends it with exit code 130.
func Command(run func(h *Host) error) (err error) {
	h := &Host{}
	var once sync.Once
	end := func() { once.Do(h.end) }
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	go func() {
		<-interrupted
		end()
		os.Exit(130)
	}()
	defer func() {
		switch p := recover().(type) {
		case nil:
		case gaveUp:
			err = errors.New(p.why)
		default:
			end()
			panic(p)
		}
		end()
		if h.Failed() && err == nil {
			err = errors.New("see above")
		}
	}()
	return run(h)
}

func (h *Host) end() {
	for {
		h.mu.Lock()
		n := len(h.cleanups)
		if n == 0 {
			h.mu.Unlock()
			return
		}
		f := h.cleanups[n-1]
		h.cleanups = h.cleanups[:n-1]
		h.mu.Unlock()
		f()
	}
}

// Cleanup, and all that follows, is what testing.TB says of it.
func (h *Host) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleanups = append(h.cleanups, f)
}

func (h *Host) Failed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

func (h *Host) fail() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = true
}

func (h *Host) Helper()                           {}
func (h *Host) Name() string                      { return "command" }
func (h *Host) Context() context.Context          { return context.Background() }
func (h *Host) Log(args ...any)                   { fmt.Fprintln(os.Stderr, args...) }
func (h *Host) Logf(format string, args ...any)   { h.Log(fmt.Sprintf(format, args...)) }
func (h *Host) Error(args ...any)                 { h.fail(); h.Log(args...) }
func (h *Host) Errorf(format string, args ...any) { h.Error(fmt.Sprintf(format, args...)) }
func (h *Host) Fatal(args ...any)                 { h.fail(); panic(gaveUp{fmt.Sprint(args...)}) }
func (h *Host) Fatalf(format string, args ...any) { h.Fatal(fmt.Sprintf(format, args...)) }
