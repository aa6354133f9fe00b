package api

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// S0-17: anybody sees per model and hour how real calls went, nothing of suppliers or of
// amounts, and the answer is kept for half a minute.
func TestStatus(t *testing.T) {
	w := newWorld(t)
	now := w.freeze()
	a := w.tenant("Tenant A", "", 10*money.USD)
	w.used(a, "alpha", usage.Success, "", now, 10, 10)
	w.used(a, "vendor/beta", usage.Success, "", now.Add(-3*time.Hour), 10, 10)
	w.used(a, "vendor/beta", usage.Failed, "upstream_error", now, 10, 10)
	read := func() (s report.Status, raw string) {
		resp, err := w.app.Test(httptest.NewRequest("GET", "/status.json", nil), -1)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "public, max-age=30" {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		if err := json.Unmarshal(body, &s); err != nil {
			t.Fatal(err)
		}
		return s, string(body)
	}
	s, raw := read()
	states := map[string]string{}
	for _, m := range s.Models {
		states[m.ID] = m.State
	}
	if s.State != "degraded" || states["alpha"] != "operational" || states["vendor/beta"] != "down" || states["auto-chat-balanced"] != "unknown" {
		t.Errorf("%s", raw)
	}
	for _, word := range []string{"hidden", "supplier", "upstream", "Tenant", "cost", "charge"} {
		if strings.Contains(raw, word) {
			t.Errorf("the status says %q: %s", word, raw)
		}
	}
	w.used(a, "alpha", usage.Failed, "upstream_error", now, 10, 10)
	if _, again := read(); again != raw {
		t.Error("the status is made anew at once")
	}
	w.frozen = now.Add(statusFor)
	if s, _ := read(); s.Models[0].ID == "alpha" && s.Models[0].State == "operational" {
		t.Error("the status is kept for longer")
	}
}
