package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"tokenrelay/shared/apptest"
)

// disturbance is something that goes on until stop is closed; ask asks the admin.
type disturbance struct {
	name   string
	least  float64 // times a second that it has to be done, or nothing was measured; 0: as often as it can be
	metric string  // of the relay: what it does about it, as often; "" = nothing
	run    func(stop <-chan struct{}, ask func(method, path, body string) error) error
}

var disturbances = []disturbance{
	{name: fmt.Sprintf("a catalogue of %d models changes ten times a second", flatModels), least: flatLeast, metric: "relay_feed_snapshots_total", run: func(stop <-chan struct{}, ask func(method, path, body string) error) error {
		n := 0
		return paced(stop, flatEvery, func() error {
			n++
			return ask("PATCH", "/admin/v1/models/other-7", fmt.Sprintf(`{"multiplier":"1.%d"}`, 10+n%80))
		})
	}},
	{name: "reports of all calls, one after the other", run: func(stop <-chan struct{}, ask func(method, path, body string) error) error {
		reports := []string{
			"/admin/v1/reports/margin?step=hour&by=client,model,key&limit=200", "/admin/v1/reports/providers",
			"/admin/v1/calls?limit=200", "/admin/v1/attempts?limit=200",
		}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return nil
			default:
			}
			if err := ask("GET", reports[i%len(reports)], ""); err != nil {
				return err
			}
		}
	}},
}

// paced calls f every so long until stop is closed, from the start on: one that took longer
// makes the next ones come at once, not fewer.
func paced(stop <-chan struct{}, every time.Duration, f func() error) error {
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-timer.C:
		}
		select {
		case <-stop: // with turns that are late there is always one ready
			return nil
		default:
		}
		if err := f(); err != nil {
			return err
		}
		due = due.Add(every)
		timer.Reset(time.Until(due))
	}
}

// flatModelsOf is a catalogue's models besides those that are measured.
func flatModelsOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {id: other-%d, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: provider, model: up-%d}], price: PRICE}\n", i, i)
	}
	return b.String()
}

// The operator who disturbs is a process of its own: what it reads and throws away is not to
// be collected by the program that times the requests. Each order but the one to stop begins
// a disturbance, which is answered when it has been stopped.
type (
	order struct {
		Disturbance  int // its place in disturbances, -1 = stop
		Admin, Token string
	}
	disturbed struct {
		Took  []time.Duration // each that was done
		Error string
	}
)

// disturb carries out orders until there are no more.
func disturb(in io.Reader, out io.Writer) error {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	var stop chan struct{}
	var done chan disturbed
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("cannot read an order: %w", err)
		}
		if o.Disturbance < 0 {
			close(stop)
			if err := answers.Encode(<-done); err != nil {
				return fmt.Errorf("cannot answer: %w", err)
			}
			continue
		}
		stop, done = make(chan struct{}), make(chan disturbed, 1)
		go func(stop <-chan struct{}) {
			var d disturbed
			if err := disturbances[o.Disturbance].run(stop, o.asking(&d.Took)); err != nil {
				d.Error = err.Error()
			}
			done <- d
		}(stop)
	}
}

// asking returns what asks the admin and notes how long it took.
func (o *order) asking(took *[]time.Duration) func(method, path, body string) error {
	return func(method, path, body string) error {
		began := time.Now()
		r, err := http.NewRequest(method, o.Admin+path, strings.NewReader(body))
		if err != nil {
			return fmt.Errorf("cannot make a request: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+o.Token)
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return fmt.Errorf("cannot ask the admin: %w", err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("cannot read the admin's answer: %w", err)
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, bytes.TrimSpace(text))
		}
		*took = append(*took, time.Since(began))
		return nil
	}
}

// operator is the process, from outside.
type operator struct {
	pid          int
	admin, token string
	orders       *json.Encoder
	answers      *json.Decoder
}

func startOperator(h *apptest.Host, admin, token string) (*operator, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	cmd := exec.Command(self, "-role", "operator")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the operator: %w", err)
	}
	h.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &operator{pid: cmd.Process.Pid, admin: admin, token: token, orders: json.NewEncoder(in), answers: json.NewDecoder(out)}, nil
}

// begin begins a disturbance, end ends it and returns how long each time took.
func (o *operator) begin(disturbance int) error {
	if err := o.orders.Encode(order{Disturbance: disturbance, Admin: o.admin, Token: o.token}); err != nil {
		return fmt.Errorf("cannot order a disturbance: %w", err)
	}
	return nil
}

func (o *operator) end() ([]time.Duration, error) {
	if err := o.orders.Encode(order{Disturbance: -1}); err != nil {
		return nil, fmt.Errorf("cannot end a disturbance: %w", err)
	}
	var d disturbed
	if err := o.answers.Decode(&d); err != nil {
		return nil, fmt.Errorf("cannot read what a disturbance says: %w", err)
	}
	if d.Error != "" {
		return nil, errors.New(d.Error)
	}
	return d.Took, nil
}
