package api

import (
	"encoding/json"
	"strings"
	"testing"
)

// The description lists exactly the customer endpoints that work.
func TestOpenAPI(t *testing.T) {
	r := send(t, bare(), "GET", "/openapi.json", "", "")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			RequestBody any
			Responses   map[string]any
		}
	}
	if err := json.Unmarshal([]byte(r.Raw), &doc); err != nil {
		t.Fatalf("%d %s: %v", r.Status, r.Raw, err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi %q", doc.OpenAPI)
	}
	ids := map[string]bool{}
	for _, route := range Routes() {
		op, ok := doc.Paths[templated(route.Path)][strings.ToLower(route.Method)]
		if ok != (route.audience == customer) {
			t.Errorf("%s %s: described %v", route.Method, route.Path, ok)
		}
		if !ok {
			continue
		}
		if ids[op.OperationID] || op.OperationID == "" {
			t.Errorf("%s %s: operationId %q", route.Method, route.Path, op.OperationID)
		}
		ids[op.OperationID] = true
		if (op.RequestBody != nil) != (route.Request != nil) || len(op.Responses) != 2 {
			t.Errorf("%s %s: %+v", route.Method, route.Path, op)
		}
	}
	if strings.Contains(r.Raw, "/admin/v1") {
		t.Error("the customer's description names the operator API")
	}
}
