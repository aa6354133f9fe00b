//go:build !race

package bench

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/store"
)

// The ways besides the plain one: a large prompt, a stream that is translated, a key
// that is not in memory, a limit that refuses.

// largeBody is a prompt of 64 KB.
func largeBody() string {
	return `{"model":"gpt-a","messages":[{"role":"user","content":"` + strings.Repeat("All work and no play. ", 64<<10/22) + `"}],"max_tokens":100}`
}

// claudeAnswer is a stream of Anthropic Messages with so many events of text.
func claudeAnswer(events int) string {
	var b strings.Builder
	add := func(name, data string) {
		ev := "event: " + name + "\ndata: " + data + "\n\n"
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(ev), ev)
	}
	add("message_start", `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"up-claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}`)
	add("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
	for range events {
		add("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"tok"}}`)
	}
	add("content_block_stop", `{"type":"content_block_stop","index":0}`)
	add("message_delta", fmt.Sprintf(`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":%d}}`, events))
	add("message_stop", `{"type":"message_stop"}`)
	return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + b.String() + "0\r\n\r\n"
}

// claudeKit serves gpt-a from a provider that speaks Messages only.
func claudeKit(tb testing.TB, url string) *proxytest.Kit {
	return proxytest.New(tb, proxytest.Options{
		Balance:   1 << 60,
		Providers: []proxytest.Provider{{Slug: "anthropic", Protocol: "anthropic", BaseURL: url, Keys: []string{"sk-up"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "anthropic", Model: "up-claude"}}}},
	})
}

// coldKit looks up a key as often as it is asked to.
func coldKit(tb testing.TB, url string) *proxytest.Kit {
	return proxytest.New(tb, proxytest.Options{
		Balance:   1 << 60,
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url, Keys: []string{"sk-up"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}}}},
		Catalog:   catalog.Options{ColdRate: 1 << 30},
	})
}

// limitedKit has a key whose one request a minute has been had.
func limitedKit(tb testing.TB, url string) *proxytest.Kit {
	k := proxytest.New(tb, proxytest.Options{
		Balance:   1 << 60,
		Providers: []proxytest.Provider{{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url, Keys: []string{"sk-up"}}},
		Models:    []proxytest.Model{{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}}}},
		Key:       func(r *store.KeyRow) { r.RPM = 1 },
	})
	dialWire(tb, k.Addr, k.Token, warmBody, shown).do(tb)
	return k
}

var shown = strings.Replace(warmAnswer, "up-gpt", "gpt-a", 1)

const (
	lastEvent = "data: [DONE]\n\n\r\n0\r\n\r\n"
	// refusedEnd is how the 429 of a request limit ends.
	refusedEnd = `429}}`
)

// Rulings 2.2, beyond the plain way: a large prompt costs no allocation above a bare
// proxy's, a refusal none above its own text's, and an event of a translated stream at
// most two.
func TestOtherLanesAllocations(t *testing.T) {
	end := []byte("}")
	t.Run("64 KB prompt", func(t *testing.T) {
		url := fixedUpstream(t, end, buffered())
		bare, bareBytes := perRun(t, dialWire(t, frugalProxy(t, url, false), "k", largeBody(), warmAnswer))
		k := warmKit(t, url)
		relay, relayBytes := perRun(t, dialWire(t, k.Addr, k.Token, largeBody(), shown))
		t.Logf("relay %.3f allocs %.0f B, bare proxy %.3f allocs %.0f B", relay, relayBytes, bare, bareBytes)
		if relay-bare >= 0.5 || relayBytes-bareBytes > 4<<10 {
			t.Errorf("%.3f allocations and %.0f bytes a request more than a bare proxy", relay-bare, relayBytes-bareBytes)
		}
		k.AtRest(t)
	})
	t.Run("translated stream", func(t *testing.T) {
		var per [2]float64
		for i, events := range []int{10, 110} {
			url := fixedUpstream(t, end, []byte(claudeAnswer(events)))
			k := claudeKit(t, url)
			relay, relayBytes := perRun(t, dialWire(t, k.Addr, k.Token, warmStream, lastEvent))
			t.Logf("translated stream of %d events: %.3f allocs %.0f B", events, relay, relayBytes)
			per[i] = relay
			k.AtRest(t)
		}
		if d := (per[1] - per[0]) / 100; d > 2 {
			t.Errorf("%.3f allocations an event", d)
		}
	})
	t.Run("limit refused", func(t *testing.T) {
		url := fixedUpstream(t, end, buffered())
		bare, _ := perRun(t, dialWire(t, frugalProxy(t, url, false), "k", warmBody, warmAnswer))
		k := limitedKit(t, url)
		relay, relayBytes := perRun(t, dialWire(t, k.Addr, k.Token, warmBody, refusedEnd))
		t.Logf("a refusal: %.3f allocs %.0f B", relay, relayBytes)
		if relay-bare >= 1.5 {
			t.Errorf("%.3f allocations a refusal, a bare proxy's answer %.3f", relay, bare)
		}
	})
}

func BenchmarkPrompt64K(b *testing.B) {
	url := fixedUpstream(b, []byte("}"), buffered())
	b.Run("bare", func(b *testing.B) { benchmarkPath(b, bareProxy(b, url, false), "k", largeBody(), warmAnswer) })
	b.Run("relay", func(b *testing.B) {
		k := warmKit(b, url)
		benchmarkPath(b, k.Addr, k.Token, largeBody(), shown)
	})
}

// BenchmarkTranslated64 is a Chat client on a Messages provider, beside the same
// stream of events untouched.
func BenchmarkTranslated64(b *testing.B) {
	url := fixedUpstream(b, []byte("}"), []byte(claudeAnswer(64)))
	b.Run("bare", func(b *testing.B) { benchmarkPath(b, bareProxy(b, url, true), "k", warmStream, "0\r\n\r\n") })
	b.Run("relay", func(b *testing.B) {
		k := claudeKit(b, url)
		benchmarkPath(b, k.Addr, k.Token, warmStream, lastEvent)
	})
}

// BenchmarkColdKey looks the key up for every request; the database is in memory.
func BenchmarkColdKey(b *testing.B) {
	k := coldKit(b, fixedUpstream(b, []byte("}"), buffered()))
	w := dialWire(b, k.Addr, k.Token, warmBody, shown)
	for range 100 {
		w.do(b)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		k.Catalog.Restart()
		b.StartTimer()
		w.do(b)
	}
}

// BenchmarkLimitRefused is a request above its key's limit.
func BenchmarkLimitRefused(b *testing.B) {
	k := limitedKit(b, fixedUpstream(b, []byte("}"), buffered()))
	w := dialWire(b, k.Addr, k.Token, warmBody, refusedEnd)
	began := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		w.do(b)
		if time.Since(began) > 50*time.Second {
			b.Fatal("the minute of the limit is over")
		}
	}
}
