package fleet

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// The models that a policy chooses between: two regions, two that judge (one of which
// never answers), and one that another stands in for.
const policyCatalogue = `
providers:
  - {name: openai, protocol: openai, dialect: openai, base_url: MOCK/openai/v1, keys: [{name: main, secret: sk-provider-openai-1111}]}
  - {name: primary, protocol: openai, dialect: openai, base_url: MOCK/primary/v1, keys: [{name: main, secret: sk-provider-primary-3333}]}
  - {name: flaky, protocol: openai, dialect: openai, base_url: MOCK/flaky/v1, keys: [{name: main, secret: sk-provider-flaky-2222}]}
  - {name: backup, protocol: openai, dialect: openai, base_url: MOCK/backup/v1, keys: [{name: main, secret: sk-provider-backup-4444}]}
  - {name: judge, protocol: openai, dialect: openai, base_url: MOCK/judge/v1, keys: [{name: main, secret: sk-provider-judge-5555}]}
  - {name: refusing, protocol: openai, dialect: openai, base_url: "http://127.0.0.1:9/v1", keys: [{name: main, secret: sk-provider-refusing-7777}]}
models:
  - {id: mock-chat, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: openai, model: upstream-chat}], price: PRICE}
  - {id: mock-new, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: primary, model: upstream-new}], price: PRICE}
  - {id: mock-failover, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: flaky, model: upstream-flaky, priority: 0}, {provider: backup, model: upstream-backup, priority: 1}], price: PRICE}
  - {id: mock-regions, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: primary, model: upstream-eu, region: eu}, {provider: backup, model: upstream-us, region: us}], price: PRICE}
  - {id: mock-judge, context_tokens: 32768, routes: [{provider: judge, model: upstream-judge}], price: {input: "0.5"}}
  - {id: mock-judge-away, context_tokens: 32768, routes: [{provider: refusing, model: upstream-judge}], price: {input: "0.5"}}
groups:
  - {name: default, models: ["*"], multiplier: "1"}
`

const (
	guardSecret, otherSecret = "the-secret-of-a-guard", "another-secret-of-a-guard"
	security                 = "/openapi/v1/security/policy"
	routing                  = "/openapi/v1/routing/policy"
	contexts                 = "/openapi/v1/context/config"
)

// guards are webhooks of a customer: PATH /allow, /block, /slow, and /signed, which
// allows what is signed with guardSecret.
func guards(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		action := "allow"
		switch r.URL.Path {
		case "/block":
			action = "block"
		case "/slow":
			time.Sleep(400 * time.Millisecond)
		case "/signed":
			at, sum, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("X-Relay-Signature"), "t="), ",v1=")
			m := hmac.New(sha256.New, []byte(guardSecret))
			_, _ = io.WriteString(m, at+"."+string(body))
			if hex.EncodeToString(m.Sum(nil)) != sum {
				action = "block"
			}
		}
		_, _ = io.WriteString(w, `{"action":"`+action+`"}`)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// asking makes a call of a model that says texts, a turn each.
func asking(model string, texts ...string) string {
	var turns []string
	for i, text := range texts {
		turns = append(turns, `{"role":"`+[]string{"user", "assistant"}[i%2]+`","content":"`+text+`"}`)
	}
	return `{"model":"` + model + `","max_tokens":10,"messages":[` + strings.Join(turns, ",") + `]}`
}

// answers are what a proxy may say.
type answers func(*apptest.Response) bool

func is(status int, code string) answers {
	return func(r *apptest.Response) bool { return r.Status == status && r.Code() == code }
}

// changed is a field of a policy, its values before and after, and what the same call gets.
type changed struct {
	path, before, after string
	body                string
	was, becomes        answers
}

// policyFields has a case for each field of policy.Rules, by its place there. told looks at
// whether what the policy found in a call is written down.
func policyFields(hooks string, told func(yes bool) answers) map[string]changed {
	ok, blocked, judged := is(200, ""), is(400, "content_blocked"), is(503, "policy_unavailable")
	masking := func(kind, text string) changed {
		return changed{security, `{"masking":{"` + kind + `":"off"}}`, `{"masking":{"` + kind + `":"block"}}`, asking("mock-chat", text), ok, blocked}
	}
	words := func(before, after string, was, becomes answers) changed {
		return changed{security, `{"content_safety":{"words":{` + before + `}}}`, `{"content_safety":{"words":{` + after + `}}}`, asking("mock-chat", "a zebra"), was, becomes}
	}
	moderation := func(text, before, after string, was, becomes answers) changed {
		return changed{security, `{"content_safety":{"moderation":{` + before + `}}}`, `{"content_safety":{"moderation":{` + after + `}}}`, asking("mock-chat", text), was, becomes}
	}
	webhook := func(before, after string, was, becomes answers) changed {
		return changed{security, `{"content_safety":{"webhook":{"secret":"` + guardSecret + `",` + before + `}}}`, `{"content_safety":{"webhook":{` + after + `}}}`, asking("mock-chat", "hello"), was, becomes}
	}
	hit := func(r *apptest.Response) bool { return r.Status == 200 && r.Header.Get("X-Relay-Cache") == "hit" }
	fresh := func(r *apptest.Response) bool { return r.Status == 200 && r.Header.Get("X-Relay-Cache") != "hit" }
	return map[string]changed{
		"masking.email":      masking("email", "write to john.doe@mail.example.com"),
		"masking.phone":      masking("phone", "call +14155552671"),
		"masking.card":       masking("card", "pay 4111 1111 1111 1111"),
		"masking.id":         masking("id", "ssn 123-45-6789."),
		"masking.credential": masking("credential", "key sk-proj-abcdefghij0123456789XYZ end"),
		"masking.apply_to": {
			security, `{"masking":{"card":"block","apply_to":"both"}}`, `{"masking":{"apply_to":"responses"}}`,
			asking("mock-chat", "pay 4111 1111 1111 1111 mock:out=2"), blocked, ok,
		},
		"words.list":     words(`"list":["lion"],"action":"block"`, `"list":["zebra"]`, ok, blocked),
		"words.action":   words(`"list":["zebra"],"action":"flag"`, `"action":"block"`, ok, blocked),
		"words.apply_to": words(`"list":["zebra"],"action":"block","apply_to":"both"`, `"apply_to":"responses"`, blocked, ok),

		"moderation.model":      moderation("hello", `"model":"mock-judge","action":"block"`, `"model":"mock-judge-away"`, ok, judged),
		"moderation.categories": moderation("I will hurt you", `"model":"mock-judge","action":"block","categories":["hate"]`, `"categories":["violence"]`, ok, blocked),
		"moderation.action":     moderation("I will hurt you", `"model":"mock-judge","action":"flag","categories":[]`, `"action":"block"`, ok, blocked),
		"moderation.timeout_ms": moderation("hello mock:judge.delay=400ms", `"model":"mock-judge","action":"block","timeout_ms":5000`, `"timeout_ms":60`, ok, judged),
		"moderation.open":       moderation("hello", `"model":"mock-judge-away","action":"block","on_failure":"refuse","timeout_ms":null`, `"on_failure":"allow"`, judged, ok),

		"webhook.url":        webhook(`"url":"`+hooks+`/allow"`, `"url":"`+hooks+`/block"`, ok, blocked),
		"webhook.secret":     webhook(`"url":"`+hooks+`/signed"`, `"secret":"`+otherSecret+`"`, ok, blocked),
		"webhook.timeout_ms": webhook(`"url":"`+hooks+`/slow","timeout_ms":5000`, `"timeout_ms":60`, ok, judged),
		"webhook.open":       webhook(`"url":"http://127.0.0.1:9/","on_failure":"refuse","timeout_ms":null`, `"on_failure":"allow"`, judged, ok),

		"routing.regions": {
			routing, `{"multi_region":{"regions":["us"]}}`, `{"multi_region":{"regions":["eu"]}}`,
			asking("mock-regions", "hello mock:primary.status=400"), ok, func(r *apptest.Response) bool { return r.Status == 400 },
		},
		"routing.retry_ms": {
			routing, `{"retry":{"within_ms":60000}}`, `{"retry":{"within_ms":50}}`,
			asking("mock-failover", "hello mock:flaky.delay=150ms;flaky.status=500"), ok, func(r *apptest.Response) bool { return r.Status != 200 },
		},
		"routing.rollouts": {
			routing, `{"rollout":{"rules":[]}}`, `{"rollout":{"rules":[{"model":"mock-chat","to":"mock-new","percent":100}]}}`,
			asking("mock-chat", "hello mock:primary.status=400"), ok, func(r *apptest.Response) bool { return r.Status == 400 },
		},
		"window.max_tokens": {
			contexts, `{"context_window":{"max_tokens":null}}`, `{"context_window":{"max_tokens":3}}`,
			asking("mock-chat", "more than three tokens are in this text"), ok, func(r *apptest.Response) bool { return r.Status == 400 },
		},
		"window.trim": {
			contexts, `{"context_window":{"max_tokens":40,"overflow":"refuse"}}`, `{"context_window":{"overflow":"trim"}}`,
			asking("mock-chat", strings.Repeat("old words ", 40), "fine", "short"), func(r *apptest.Response) bool { return r.Status == 400 },
			func(r *apptest.Response) bool { return r.Status == 200 && r.Header.Get("X-Relay-Trimmed") != "" },
		},
		"cache.answers": {contexts, `{"cache":{"answers":"off"}}`, `{"cache":{"answers":"all"}}`, asking("mock-chat", "again and again"), fresh, hit},
		"logging.level": {
			security, `{"masking":{"card":"flag"},"logging":{"level":"standard"}}`, `{"logging":{"level":"minimal"}}`,
			asking("mock-chat", "pay 4111 1111 1111 1111 mock:out=2"), told(true), told(false),
		},
		"cache.seconds": {
			contexts, `{"cache":{"answers":"all","answer_seconds":600}}`, `{"cache":{"answer_seconds":1}}`, asking("mock-chat", "once more"), hit,
			nil, // more than one look: see the test
		},
	}
}

// S1-14, S1-16, S1-18: every field of every policy changes what both proxies do, within a
// second. A field without a case fails the test.
func TestEveryFieldOfAPolicyActs(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2, Catalogue: policyCatalogue, ProxyEnv: []string{"RELAY_PRIVATE_WEBHOOKS=on"}})
	db := database(t, s)
	cases := policyFields(guards(t), func(yes bool) answers {
		return func(r *apptest.Response) bool {
			return r.Status == 200 && (booked(t, db, r.ID()).Flags&usage.FlagCard != 0) == yes
		}
	})
	var want []string
	leaves(reflect.TypeFor[policy.Rules](), "", &want)
	if have := slices.Sorted(maps.Keys(cases)); !slices.Equal(have, slices.Sorted(slices.Values(want))) {
		t.Fatalf("fields %v\ncases %v", want, have)
	}
	var times []time.Duration
	var mu sync.Mutex
	t.Run("fields", func(t *testing.T) {
		for name, c := range cases {
			s.CreateClient(name, "10")
			k := s.CreateKey(name)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				setPolicy(t, s, k, c.path, c.before)
				eventually(t, s, k, c.body, "before", 5*time.Second, c.was)
				since := setPolicy(t, s, k, c.path, c.after)
				if name == "cache.seconds" {
					time.Sleep(soon - time.Since(since)) // a change empties the cache by itself
					fetch(t, s.Proxies[0], k, c.body)
					time.Sleep(1300 * time.Millisecond)
					if r := fetch(t, s.Proxies[0], k, c.body); r.Header.Get("X-Relay-Cache") != "miss" {
						t.Errorf("an answer of more than a second ago: %v", r.Header)
					}
					return
				}
				eventually(t, s, k, c.body, "after", 5*time.Second, c.becomes)
				mu.Lock()
				times = append(times, time.Since(since))
				mu.Unlock()
			})
		}
	})
	slices.Sort(times)
	if len(times) == 0 {
		t.Fatal("nothing changed")
	}
	// The last ones wait for judges and failing routes, by what their cases are.
	p90 := times[len(times)*9/10]
	t.Logf("%d fields, seen by both proxies after p50 %s, p90 %s", len(times), times[len(times)/2], p90)
	if p90 > soon {
		t.Errorf("a change took %s, promised is %s", p90, soon)
	}
	s.Settled()
	s.Audit()
}

// booked waits for the row of a call.
func booked(t *testing.T, db *store.DB, id string) store.UsageRow {
	t.Helper()
	request, err := reqid.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	var row store.UsageRow
	apptest.Eventually(t, 10*time.Second, "the call is booked", func() bool {
		rows, err := db.Usage(t.Context(), store.UsageFilter{All: true, RequestID: request})
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 1 {
			row = rows[0]
		}
		return len(rows) == 1
	})
	return row
}

// leaves lists the fields of a type by their JSON names, those of structs within by paths.
func leaves(of reflect.Type, path string, to *[]string) {
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.Struct {
			leaves(f.Type, path+name+".", to)
		} else {
			*to = append(*to, path+name)
		}
	}
}

// fetch makes a call of chat completions.
func fetch(t *testing.T, p *apptest.Proxy, k apptest.Key, body string) *apptest.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := apptest.Fetch(ctx, p.URL, apptest.Request{Method: "POST", Path: "/v1/chat/completions", Body: body, Header: http.Header{"Authorization": {"Bearer " + k.Token}, "Content-Type": {"application/json"}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eventually asks every proxy until it answers as wanted.
func eventually(t *testing.T, s *apptest.Stack, k apptest.Key, body, when string, within time.Duration, wanted answers) {
	t.Helper()
	for n, p := range s.Proxies {
		deadline := time.Now().Add(within)
		for {
			r := fetch(t, p, k, body)
			if wanted(r) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s, proxy %d: %d %s %v\n%s", when, n, r.Status, r.Code(), r.Header, r.Body)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
