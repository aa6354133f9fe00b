// Command run is make load: it runs the k6 scripts against the relay that BASE_URL and
// KEY name or, without BASE_URL, against one of its own, with the mock provider and
// customers made for the scripts. The k6 binary is the one that loadtest/k6 builds.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tokenrelay/shared/apptest"
)

// scripts that are there, in the order in which they run by themselves.
var scripts = []string{"smoke", "ramp", "spike", "streams", "tenants", "limits", "failover", "soak"}

// short is how long each takes against a relay of its own unless DURATION says more.
var short = map[string]string{"ramp": "20s", "spike": "24s", "streams": "20s", "tenants": "20s", "limits": "65s", "failover": "24s", "soak": "30s"}

func main() {
	k6 := flag.String("k6", ".cache/bin/k6", "the k6 binary")
	out := flag.String("out", ".cache/load", "folder of the summaries")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "run [flags] [script ...]\nscripts: %s\n", strings.Join(scripts, " "))
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*k6, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(k6, out string, names []string) error {
	for _, name := range names {
		if !slices.Contains(scripts, name) {
			return fmt.Errorf("there is no script %q: %s", name, strings.Join(scripts, " "))
		}
	}
	root, err := apptest.Root()
	if err != nil {
		return err
	}
	r := &runner{dir: filepath.Join(root, "loadtest", "k6", "scripts")}
	if r.k6, err = filepath.Abs(k6); err != nil {
		return fmt.Errorf("cannot find k6: %w", err)
	}
	if r.out, err = filepath.Abs(out); err != nil {
		return fmt.Errorf("cannot find the folder of summaries: %w", err)
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of summaries: %w", err)
	}
	if os.Getenv("BASE_URL") != "" {
		if len(names) == 0 {
			names = []string{"smoke"} // no surprise for somebody's relay
		}
		return r.all(names)
	}
	if len(names) == 0 {
		names = scripts
	}
	return apptest.Command(func(h *apptest.Host) error {
		s := apptest.Start(h, apptest.Options{OwnPostgres: true, DurablePostgres: true})
		r.env = own(s)
		r.short = os.Getenv("DURATION") == ""
		failed := r.all(names)
		s.Audit() // the books after the load
		if !h.Failed() {
			fmt.Println("admin audit --strict finds nothing wrong in the books")
		}
		return failed
	})
}

// limit is the requests a minute of the customers that have one.
const limit = "60"

// own makes the customers and gives what the scripts need to know about them.
func own(s *apptest.Stack) []string {
	key := func(client, credit string, flags ...string) string {
		return s.CreateKey(s.CreateClient(client, credit).Name, flags...).Token
	}
	return []string{
		"BASE_URL=" + s.Proxy(0).URL, "MODEL=mock-chat", "FAILOVER_MODEL=mock-failover", "MOCK=1", "MOCK_URL=" + s.MockURL, "LANE=primary",
		"KEY=" + key("load", "1000"),
		"KEYS=" + strings.Join([]string{key("quiet", "1000"), key("greedy", "1000"), key("streaming", "1000")}, ","),
		"EMPTY_KEY=" + key("empty", "0"),
		"LIMITED_KEYS=" + key("pushing", "1000", "--rpm", limit) + "," + key("polite", "1000", "--rpm", limit), "RPM=" + limit,
	}
}

type runner struct {
	k6, dir, out string
	env          []string
	short        bool
}

// all runs scripts one after another, also when one misses its thresholds.
func (r *runner) all(names []string) error {
	var missed []error
	for _, name := range names {
		cmd := exec.Command(r.k6, "run", "--quiet", "--no-usage-report", filepath.Join(r.dir, name+".js"))
		cmd.Env = append(append(os.Environ(), "OUT="+r.out), r.env...)
		if d := short[name]; r.short && d != "" {
			cmd.Env = append(cmd.Env, "DURATION="+d)
		}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			missed = append(missed, fmt.Errorf("%s: %w", name, err))
		}
	}
	if len(missed) == 0 {
		fmt.Printf("all thresholds kept; summaries are in %s\n", r.out)
	}
	return errors.Join(missed...)
}
