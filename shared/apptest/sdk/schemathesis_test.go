package sdk

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"tokenrelay/shared/apptest"
)

// fuzzing is what make schemathesis asks for beside the cases that the documents' own
// bounds and examples make.
var fuzzing = flag.Duration("schemathesis", 0, "also try random requests, for at most this long for each document")

// Schemathesis is made of the two published documents: what they promise of every answer
// holds, what they forbid is refused, and nothing is an error of the server, in the real
// programs with a customer's key and with an operator's token.
func TestSchemathesis(t *testing.T) {
	t.Parallel() // with the suites of TestSDK
	root, err := apptest.Root()
	if err != nil {
		t.Fatal(err)
	}
	x := &tools{root: root, cache: filepath.Join(root, ".cache")}
	program := filepath.Join(filepath.Dir(x.Python(t, "python-schemathesis", "schemathesis/requirements.txt")), "schemathesis")
	s := apptest.Start(t, apptest.Options{})
	s.CreateClient("acme", "100")
	key, spare := s.CreateKey("acme"), s.CreateKey("acme")
	var request string
	for range 3 {
		r := s.Proxy(0).Do(apptest.Chat(key.Token, "mock-chat", "hello mock:out=5"))
		if request = r.ID(); r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
	s.Settled()
	s.CreateClient("victim", "5")
	// What exists, in the place of made-up ids; the customer's own key stays whole.
	conform(t, x, program, s.Proxy(0).URL, "/openapi.json", key.Token, map[string]string{
		"api_key_id": spare.ID, "request_id": request, "transaction_id": request + "-c", "model": "mock-chat", "resource_id": "model:mock-chat",
	})
	conform(t, x, program, s.Proxy(0).URL, "/admin/v1/openapi.json", s.OperatorToken, map[string]string{
		"client_id": "victim", "provider": "groq", "key_name": "main", "group": "narrow", "model": "mock-groq", "audit_id": "1", "api_key_id": spare.ID, "request_id": request,
	})
	s.Audit()
}

// conform runs schemathesis for one document.
func conform(t *testing.T, x *tools, program, url, document, token string, ids map[string]string) {
	t.Helper()
	bearer := apptest.Request{Method: "GET", Path: document}.With("Authorization", "Bearer "+token)
	r, err := apptest.Fetch(t.Context(), url, bearer)
	if err != nil || r.Status != 200 {
		t.Fatalf("%s: %v, %+v", document, err, r)
	}
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal(r.Body, &doc); err != nil {
		t.Fatal(err)
	}
	operations := 0
	for _, methods := range doc.Paths {
		operations += len(methods)
	}
	dir := t.TempDir()
	config := "[parameters]\n"
	for name, id := range ids {
		config += fmt.Sprintf("%q = %q\n", "path."+name, id)
	}
	for name, text := range map[string]string{"schemathesis.toml": config, "openapi.json": string(r.Body)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Left out: positive_data_acceptance. A schema cannot say which models exist, that from
	// comes before to, or what a cursor was; such values are refused by name.
	args := []string{
		"--config-file", "schemathesis.toml", "run", "openapi.json", "--url", url, "-H", "Authorization: Bearer " + token,
		"--checks", "all", "--exclude-checks", "positive_data_acceptance", "--seed", "1", "--no-shrink", "--continue-on-failure",
		"--generation-database", ":memory:", "--request-timeout", "30", "--suppress-health-check", "all", "--warnings", "off",
	}
	limit := suiteTime
	if *fuzzing > 0 {
		args = append(args, "--phases", "examples,coverage,fuzzing", "--max-examples", "500", "--max-time", strconv.Itoa(int(fuzzing.Seconds())))
		limit += *fuzzing
	} else {
		args = append(args, "--phases", "examples,coverage", "--max-examples", "5", "--max-time", "45")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := command(ctx, dir, environment("NO_COLOR=1"), program, args...)
	tested := regexp.MustCompile(`Selected: (\d+)/\d+\s+Tested: (\d+)`).FindStringSubmatch(out)
	switch {
	case err != nil:
		t.Errorf("%s: %v\n%s", document, err, out)
	case tested == nil || tested[1] != strconv.Itoa(operations) || tested[2] != tested[1]:
		t.Errorf("%s has %d operations, tried were %v\n%s", document, operations, tested, out)
	}
	t.Logf("%s: %d operations; %s", document, operations, regexp.MustCompile(`\d+ generated.*`).FindString(out))
}
