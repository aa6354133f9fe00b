package api

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/session"
	"tokenrelay/shared/obs"
)

// s1 is every endpoint of the customer API that the reference names.
const s1 = `
S1-05 GET /openapi/v1/client
S1-06 GET /openapi/v1/client/profile
S1-07 PATCH /openapi/v1/client/profile
S1-08 POST /openapi/v1/conversations
S1-09 GET /openapi/v1/conversations
S1-10 GET /openapi/v1/conversations/{conversation_id}
S1-11 PATCH /openapi/v1/conversations/{conversation_id}
S1-12 DELETE /openapi/v1/conversations/{conversation_id}
S1-13 GET /openapi/v1/context/config
S1-14 PATCH /openapi/v1/context/config
S1-15 GET /openapi/v1/security/policy
S1-16 PATCH /openapi/v1/security/policy
S1-17 GET /openapi/v1/routing/policy
S1-18 PATCH /openapi/v1/routing/policy
S1-19 GET /openapi/v1/resources
S1-20 GET /openapi/v1/resources/{resource_id}
S1-21 GET /openapi/v1/resource-types
S1-22 GET /openapi/v1/models
S1-23 GET /openapi/v1/models/{model}
S1-24 GET /openapi/v1/models/{model}/preflight
S1-25 GET /openapi/v1/model-tags
S1-26 GET /openapi/v1/balance
S1-27 GET /openapi/v1/balance/config
S1-28 PATCH /openapi/v1/balance/config
S1-29 POST /openapi/v1/balance/check
S1-30 GET /openapi/v1/balance-transactions
S1-31 GET /openapi/v1/balance-transactions.csv
S1-32 GET /openapi/v1/balance-transactions/{transaction_id}
S1-33 GET /openapi/v1/api-keys
S1-34 POST /openapi/v1/api-keys
S1-35 GET /openapi/v1/api-keys/{api_key_id}
S1-36 GET /openapi/v1/api-keys/{api_key_id}/model-access
S1-37 PATCH /openapi/v1/api-keys/{api_key_id}
S1-38 DELETE /openapi/v1/api-keys/{api_key_id}
S1-39 POST /openapi/v1/api-keys/{api_key_id}/disable
S1-40 POST /openapi/v1/api-keys/{api_key_id}/copy
S1-41 POST /openapi/v1/api-keys/{api_key_id}/rotate
S1-42 GET /openapi/v1/usage/breakdown
S1-43 GET /openapi/v1/billing/cost-breakdown
S1-44 GET /openapi/v1/billing/detail
S1-45 GET /openapi/v1/billing/detail.csv
S1-46 GET /openapi/v1/billing/monthly-statement
S1-47 GET /openapi/v1/billing/monthly-statement.csv
S1-48 GET /openapi/v1/billing/rules
S1-49 GET /openapi/v1/billing/rules/{model}
S1-50 GET /openapi/v1/cost/overview
S1-51 GET /openapi/v1/cost/trend
S1-52 GET /openapi/v1/cost/models
S1-53 GET /openapi/v1/cost/models/{model}
S1-54 GET /openapi/v1/observation/metrics
S1-55 GET /openapi/v1/observation/charts
S1-56 GET /openapi/v1/observation/logs
S1-57 GET /openapi/v1/traces/{request_id}
`

// bare is an app that has no database: enough for whatever is refused before one
// is asked.
func bare() *fiber.App {
	return New(Deps{
		Operator: session.NewOperator("0123456789abcdef"), Log: obs.Discard(), Metrics: obs.NewMetrics(false),
		Now: time.Now, Ready: func() bool { return true }, Brand: "Token Relay", PublicURL: "http://relay.example",
	})
}

// S1-B1: every endpoint of S1 is there, behind a key.
func TestEveryS1EndpointIsMounted(t *testing.T) {
	app := bare()
	byID := map[string]Route{}
	for _, r := range Routes() {
		if strings.HasPrefix(r.ID, "S1-") && r.audience == customer {
			byID[r.ID] = r
		}
	}
	n := 0
	for line := range strings.SplitSeq(strings.TrimSpace(s1), "\n") {
		n++
		parts := strings.Fields(line)
		id, method, path := parts[0], parts[1], parts[2]
		r, ok := byID[id]
		if !ok {
			t.Errorf("%s %s %s is not mounted", id, method, path)
			continue
		}
		if got := templated(r.Path); r.Method != method || got != path {
			t.Errorf("%s is %s %s, want %s %s", id, r.Method, got, method, path)
		}
		resp, err := app.Test(httptest.NewRequest(method, strings.NewReplacer("{", "", "}", "").Replace(path), nil))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 401 {
			t.Errorf("%s without a key: %d %s, want 401", line, resp.StatusCode, body)
		}
	}
	if n != 53 {
		t.Errorf("the list names %d endpoints, want S1-05 … S1-57", n)
	}
}
