package policy

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// What is stored is what is read again; rules that ask for nothing are none.
func TestTextAndParse(t *testing.T) {
	r := &Rules{
		Masking: Masking{Email: Mask, Card: Block, ApplyTo: Requests},
		Words:   Words{List: []string{"zebra"}, Action: Flag, ApplyTo: Responses},
		Routing: Routing{Regions: []string{"eu"}, RetryMS: 5, Rollouts: []Rollout{{Model: "a", To: "b", Percent: 10}}},
		Window:  Window{MaxTokens: 9, Trim: true},
		Cache:   Cache{Answers: Deterministic, Seconds: 60},

		Moderation: Moderation{Model: "omni", Categories: []string{"hate/threatening"}, Action: Block, TimeoutMS: 50, Open: true},
		Webhook:    Webhook{URL: "https://guard.example/x", Secret: "sealed", TimeoutMS: 10_000, Open: true},
		Logging:    Logging{Level: Minimal},
	}
	text, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(text); err != nil || !reflect.DeepEqual(r, again) {
		t.Errorf("%s is read as %+v: %v", text, again, err)
	}
	empty := &Rules{Words: Words{List: []string{}}, Routing: Routing{Regions: []string{}, Rollouts: []Rollout{}}}
	if text, err := empty.Text(); err != nil || string(text) != "{}" {
		t.Errorf("nothing is stored as %s: %v", text, err)
	}
	for _, none := range []string{"", "{}"} {
		if r, err := Parse([]byte(none)); r != nil || err != nil {
			t.Errorf("%q: %+v %v", none, r, err)
		}
	}
	if o := r.Routing.Rollout("a"); o == nil || o.To != "b" || r.Routing.Rollout("b") != nil {
		t.Errorf("rollout %+v", o)
	}
	if none := (&Cache{}).TTL(); none != CacheSeconds || r.Cache.TTL() != 60 {
		t.Errorf("%d seconds", none)
	}
}

// What cannot be obeyed is not stored, and not taken for something else when it is read.
func TestInvalid(t *testing.T) {
	for _, text := range []string{
		`{"masking":{"email":"shout"}}`, `{"masking":{"apply_to":"all"}}`, `{"masking":{"iris":"mask"}}`, `{"unknown":{}}`, `[`, `{"words":{"list":[""]}}`, `{"words":{"action":"x"}}`,
		`{"words":{"list":["` + strings.Repeat("x", MaxWordBytes+1) + `"]}}`, `{"words":{"list":["a"` + strings.Repeat(`,"a"`, MaxWords) + `]}}`,
		`{"routing":{"retry_ms":-1}}`, `{"routing":{"retry_ms":600001}}`, `{"routing":{"regions":["a"` + strings.Repeat(`,"a"`, MaxRegions) + `]}}`,
		`{"routing":{"rollouts":[{"model":"a","to":"a","percent":1}]}}`, `{"routing":{"rollouts":[{"model":"a","to":"b","percent":101}]}}`, `{"routing":{"rollouts":[{"model":"a","to":"b","percent":1},{"model":"a","to":"c","percent":1}]}}`,
		`{"moderation":{"model":"m","action":"mask"}}`, `{"moderation":{"action":"block"}}`, `{"moderation":{"categories":["No"]}}`, `{"moderation":{"timeout_ms":49}}`,
		`{"webhook":{"url":"https://x"}}`, `{"webhook":{"secret":"s"}}`, `{"webhook":{"url":"file:///x","secret":"s"}}`, `{"webhook":{"url":"http://u@x","secret":"s"}}`, `{"webhook":{"timeout_ms":10001}}`,
		`{"window":{"max_tokens":-1}}`, `{"cache":{"answers":"some"}}`, `{"cache":{"seconds":86401}}`,
		`{"logging":{"level":"standard"}}`, `{"logging":{"level":"all"}}`,
	} {
		if r, err := Parse([]byte(text)); !errors.Is(err, ErrInvalid) || r != nil {
			t.Errorf("%.60s: %+v %v", text, r, err)
		}
	}
	if _, err := (&Rules{Cache: Cache{Answers: "some"}}).Text(); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}
