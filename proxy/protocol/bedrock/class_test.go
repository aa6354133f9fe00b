package bedrock

import (
	"testing"

	"tokenrelay/proxy/protocol"
)

// What each of Amazon's errors really is: the kind stands in the head of an answer, and
// as the type of an exception inside a stream.
func TestErrorClass(t *testing.T) {
	for _, c := range []struct {
		status        int
		kind, message string
		want          protocol.Class
	}{
		{429, "ThrottlingException:http://internal", "Too many requests", protocol.Class{Fault: protocol.FaultRateLimited, Failover: true, Key: protocol.KeyTransient, CoolSeconds: 5}},
		{400, "ServiceQuotaExceededException", "Quota", protocol.Class{Fault: protocol.FaultRateLimited, Failover: true, Key: protocol.KeyTransient, CoolSeconds: 5}},
		{429, "ModelNotReadyException", "warming", protocol.Class{Fault: protocol.FaultRateLimited, Failover: true, Key: protocol.KeyTransient, CoolSeconds: 5}},
		{403, "AccessDeniedException", "User is not authorized to perform: bedrock:InvokeModel", protocol.Class{Fault: protocol.FaultKey, Failover: true, Key: protocol.KeyPermanent}},
		{403, "AccessDeniedException", "You don't have access to the model with the specified model ID.", protocol.Class{Fault: protocol.FaultModelMissing, Failover: true}},
		{403, "UnrecognizedClientException", "The security token included in the request is invalid.", protocol.Class{Fault: protocol.FaultKey, Failover: true, Key: protocol.KeyPermanent}},
		{403, "ExpiredTokenException", "expired", protocol.Class{Fault: protocol.FaultKey, Failover: true, Key: protocol.KeyPermanent}},
		{400, "ValidationException", "Operation not allowed", protocol.Class{Fault: protocol.FaultAccount, Failover: true, Key: protocol.KeyPermanent}},
		{400, "ValidationException", "The provided model identifier is invalid.", protocol.Class{Fault: protocol.FaultModelMissing, Failover: true}},
		{400, "ValidationException", "Invocation of model ID x with on-demand throughput isn’t supported.", protocol.Class{Fault: protocol.FaultModelMissing, Failover: true}},
		{404, "ResourceNotFoundException", "This model version has reached the end of its life.", protocol.Class{Fault: protocol.FaultModelMissing, Failover: true}},
		{400, "ValidationException", "Input is too long for requested model.", protocol.Class{Fault: protocol.FaultClient, PassOn: true, Status: 400}},
		{400, "ValidationException", "Output blocked by content filtering policy", protocol.Class{Fault: protocol.FaultPolicy, PassOn: true, Status: 400}},
		{408, "ModelTimeoutException", "timeout", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
		{424, "ModelErrorException", "the model failed", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
		{500, "InternalServerException", "x", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
		{503, "ServiceUnavailableException", "x", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
		{0, "throttlingException", "slow", protocol.Class{Fault: protocol.FaultRateLimited, Failover: true, Key: protocol.KeyTransient, CoolSeconds: 5}},
		{0, "modelStreamErrorException", "x", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
		{0, "internalServerException", "x", protocol.Class{Fault: protocol.FaultServer, Failover: true}},
		{0, "validationException", "bad", protocol.Class{Fault: protocol.FaultClient, PassOn: true, Status: 400}},
	} {
		body, kind := []byte(`{"message":"`+c.message+`"}`), []byte(c.kind)
		if c.status == 0 {
			body, kind = []byte(`{"type":"`+c.kind+`","message":"`+c.message+`"}`), nil
		}
		if got := ErrorClass(c.status, nil, kind, body); got != c.want {
			t.Errorf("%d %s %q: %+v; want %+v", c.status, c.kind, c.message, got, c.want)
		}
	}
}
