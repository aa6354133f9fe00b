//go:build !race

package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
)

// manyModels is a catalogue of n models at one provider.
func manyModels(url string, n int) proxytest.Options {
	o := proxytest.Options{
		Balance:   1 << 60,
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url, Keys: []string{"sk-up"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}}}},
	}
	for i := 1; i < n; i++ {
		o.Models = append(o.Models, proxytest.Model{ID: fmt.Sprintf("model-%d", i), Routes: []proxytest.Route{{Provider: "openai", Model: fmt.Sprintf("up-%d", i)}}})
	}
	return o
}

// pairs makes requests for 400 ms with and without something that goes on beside them, seven
// times in turns, and gives the median of the ratios of their p99. beside begins it, and
// gives what ends it.
func pairs(t *testing.T, w *wire, what string, beside func() (end func())) float64 {
	t.Helper()
	span := func(with bool) (p99 time.Duration) {
		if with {
			defer beside()()
		}
		var took []time.Duration
		for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); {
			at := time.Now()
			w.do(t)
			took = append(took, time.Since(at))
			time.Sleep(200 * time.Microsecond)
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	span(true)
	var ratios []float64
	for range 7 {
		without := span(false)
		ratios = append(ratios, float64(span(true))/float64(without))
	}
	slices.Sort(ratios)
	t.Logf("p99 with %s over p99 without: median %.2f of %.2f", what, ratios[3], ratios)
	return ratios[3]
}

// A catalogue of 1,000 models that is built and swapped ten times a second is not seen
// in the times of requests.
func TestSwapIsNotSeen(t *testing.T) {
	url := fixedUpstream(t, []byte("}"), buffered())
	o := manyModels(url, 1000)
	k := proxytest.New(t, o)
	w := dialWire(t, k.Addr, k.Token, warmBody, shown)
	ratio := pairs(t, w, "a swap each 100 ms", func() func() {
		stop, swapped := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			defer func() { swapped <- n }()
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					n++
					k.Publish(t, &o, int64(n)+1)
				}
			}
		}()
		return func() {
			close(stop)
			if n := <-swapped; n == 0 {
				t.Error("nothing was swapped")
			}
		}
	})
	// Ten builds a second take a part of one of two processors, and the garbage
	// collector's: a wait for a lock would be tens of times.
	if ratio > 8 {
		t.Errorf("p99 grows %.1f times", ratio)
	}
	k.AtRest(t)
}
