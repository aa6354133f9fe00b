package cohere

import (
	"testing"

	"tokenrelay/proxy/protocol"
)

// What each of Cohere's errors really is.
func TestErrorClass(t *testing.T) {
	key := protocol.Class{Fault: protocol.FaultKey, Failover: true, Key: protocol.KeyPermanent}
	for _, c := range []struct {
		status  int
		message string
		want    protocol.Class
	}{
		{400, "invalid request: temperature", protocol.Class{Fault: protocol.FaultClient, PassOn: true, Status: 400}},
		{422, "json: cannot unmarshal", protocol.Class{Fault: protocol.FaultClient, PassOn: true, Status: 422}},
		{401, "invalid api token", key},
		{403, "not permitted", key},
		{498, "blocked", key},
		{402, "no payment method", protocol.Class{Fault: protocol.FaultAccount, Failover: true, Key: protocol.KeyPermanent}},
		{404, "model 'x' not found, make sure", protocol.Class{Fault: protocol.FaultModelMissing, Failover: true}},
		{429, "Please wait and try again later", protocol.Class{Fault: protocol.FaultRateLimited, Failover: true, Key: protocol.KeyTransient, CoolSeconds: 5}},
		{429, "You are using a Trial key, which is limited to 1000 API calls / month.", protocol.Class{Fault: protocol.FaultAccount, Failover: true, Key: protocol.KeyPermanent}},
		{499, "cancelled", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
		{500, "internal server error", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
		{503, "", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
	} {
		if got := ErrorClass(c.status, nil, []byte(`{"id":"a","message":"`+c.message+`"}`)); got != c.want {
			t.Errorf("%d %q: %+v; want %+v", c.status, c.message, got, c.want)
		}
	}
}
