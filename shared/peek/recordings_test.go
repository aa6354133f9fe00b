package peek_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/peek"
	"tokenrelay/shared/price"
)

// TestInputBoundAgainstRecordings is D3: what a request's hold covers of input is never
// below what its provider counted, and how far above it is.
func TestInputBoundAgainstRecordings(t *testing.T) {
	list, err := fixtures.Own()
	dir, recorded := fixtures.Recordings()
	if recorded {
		list, err = fixtures.Load(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[string]peek.Shape{
		"openai.chat": peek.OpenAIChat, "anthropic.messages": peek.AnthropicMessages, "openai.embeddings": peek.OpenAIEmbeddings,
		"openai.completions": peek.OpenAICompletions, "openai.responses": peek.OpenAIResponses,
		"dashscope.text": peek.DashScopeText, "gemini.generate": peek.GeminiGenerate, "gemini.stream": peek.GeminiGenerate,
	}
	ratios, left := map[string][]float64{}, map[string]int{}
	for _, c := range list {
		shape, ok := shapes[c.Protocol]
		if !ok || !c.HasUsage || c.Expected.InputTotal == 0 {
			continue
		}
		var r peek.Request
		if err := peek.Scan(c.Request, shape, &r); err != nil {
			left["refused: "+err.Error()]++
			continue
		}
		if bytes.Contains(c.Request, []byte(`"cachedContent"`)) {
			left["names what is stored at the provider, which the relay refuses"]++
			continue
		}
		// What providers' own tools read depends on the window: 200,000 tokens here.
		var b price.Bound
		if !r.Bound(200_000, &b) {
			left["without a bound"]++
			continue
		}
		actual := c.Expected.InputTotal
		for _, i := range c.Expected.Iterations {
			actual += i.InputUncached + i.CacheRead + i.CacheWrite
		}
		bound := b.InputTokens + b.ImageTokens + b.AudioTokens
		if recorded && bound < actual { // the counts of the project's own cases are made up
			t.Errorf("%s: bound %d (%d text, %d images, %d audio), the provider counted %d", c.ID, bound, b.InputTokens, b.ImageTokens, b.AudioTokens, actual)
		}
		kind := "text"
		switch {
		case r.Images > 0 || r.Audios > 0 || r.Files > 0:
			kind = "media"
		case r.ServerTools > 0 || r.Rereads > 0:
			kind = "provider's own tools"
		case actual < 500:
			kind = "text under 500 tokens"
		}
		ratios[kind] = append(ratios[kind], float64(bound)/float64(actual))
	}
	n := 0
	for kind, l := range ratios {
		slices.Sort(l)
		n += len(l)
		t.Logf("%s: %d requests, bound over counted: least %.2f, median %.2f, most %.1f", kind, len(l), l[0], l[len(l)/2], l[len(l)-1])
	}
	if !recorded {
		fmt.Println("peek: no folder of recordings (RECORDINGS names one): the bound was not compared with what providers counted")
	}
	fmt.Printf("peek: bounds of %d requests; left out: %v\n", n, left)
	if l := ratios["text"]; n == 0 || recorded && (n < 120 || len(l) == 0 || l[len(l)/2] > 8) {
		t.Errorf("%d requests, %d long ones, or the bound is loose", n, len(l))
	}
}
