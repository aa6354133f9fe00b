package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// plan says where the relay is, which keys there are and which models show which
// fault.
type plan struct {
	URL    string            `json:"url"`
	Keys   map[string]string `json:"keys"`
	Models struct {
		Chat     string   `json:"chat"`
		Claude   string   `json:"claude"`
		ClaudeID string   `json:"claude_id"`
		Gemini   string   `json:"gemini"`
		Qwen     string   `json:"qwen"`
		Paused   string   `json:"paused"`
		Down     string   `json:"down"`
		Keyless  string   `json:"keyless"`
		Broken   []string `json:"broken"`
	} `json:"models"`
}

// failure ends a scenario.
type failure string

func failf(format string, args ...any) {
	_, _, line, _ := runtime.Caller(2)
	panic(failure(fmt.Sprintf(format, args...) + fmt.Sprintf(" (main.go:%d)", line)))
}

func equal[T comparable](got, want T, what string) {
	if got != want {
		failf("%s: got %v, want %v", what, got, want)
	}
}

func check(ok bool, what string) {
	if !ok {
		failf("%s", what)
	}
}

func must(err error) {
	if err != nil {
		failf("%v", err)
	}
}

type scenario struct {
	name string
	run  func()
}

type report struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	MS     int64  `json:"ms"`
}

// run runs a scenario; one that fails leaves the others running.
func run(s scenario) (r report) {
	start := time.Now()
	r = report{Name: s.name, OK: true}
	defer func() {
		r.MS = time.Since(start).Milliseconds()
		switch e := recover().(type) {
		case nil:
		case failure:
			r.OK, r.Detail = false, string(e)
		default:
			r.OK, r.Detail = false, fmt.Sprintf("panic: %v", e)
		}
	}()
	s.run()
	return r
}

// harness reports each scenario on one line of JSON.
func harness(scenarios []scenario, versions map[string]string) {
	out := json.NewEncoder(os.Stdout)
	_ = out.Encode(map[string]any{"versions": versions})
	work := make(chan scenario)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for s := range work {
				r := run(s)
				mu.Lock()
				_ = out.Encode(r)
				mu.Unlock()
			}
		}()
	}
	for _, s := range scenarios {
		work <- s
	}
	close(work)
	wg.Wait()
}

func load() (p plan) {
	b, err := os.ReadFile(os.Getenv("RELAY_SDK_PLAN"))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: cannot read the plan: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(2)
	}
	return p
}

const (
	hello   = "Hello, please introduce yourself. mock:out=12"
	weather = "What is the weather in Paris?"
)

// cities are the arguments of a tool call as the schema wants them.
func cities(arguments string) bool {
	var a struct {
		City *string `json:"city"`
	}
	return json.Unmarshal([]byte(arguments), &a) == nil && a.City != nil
}

func isRequestID(id string) bool { return strings.HasPrefix(id, "req_") && len(id) == len("req_")+26 }
