package catalog

import (
	"slices"
	"testing"
)

func TestDomainOf(t *testing.T) {
	for address, want := range map[string]string{
		"https://api.openai.com/v1":                  "openai.com",
		"https://My-Resource.openai.azure.com/":      "azure.com",
		"https://bedrock-runtime.eu-1.amazonaws.com": "amazonaws.com",
		"https://api.x.ai/v1":                        "x.ai",
		"https://llm.firm.co.uk":                     "firm.co.uk",
		"https://co.uk":                              "co.uk",
		"http://10.1.2.3:8080/v1":                    "10.1.2.3",
		"http://[FD00::12]:8080/v1":                  "fd00::12",
		"http://vllm:8000/v1":                        "vllm",
		"http://vllm.models.svc.cluster.local.:8000": "cluster.local",
		"://": "",
		"https://aiplatform.googleapis.com/v1/projects/p/publishers": "googleapis.com",
	} {
		if got := domainOf(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

func TestPartsOf(t *testing.T) {
	for secret, want := range map[string][]string{
		" sk-0123456789\n":                       {"sk-0123456789"},
		"EMPTY":                                  nil,
		"AKIAEXAMPLE:a-secret-of-aws":            {"AKIAEXAMPLE:a-secret-of-aws", "a-secret-of-aws", "AKIAEXAMPLE"},
		"AKIAEXAMPLE:a-secret-of-aws:session-to": {"AKIAEXAMPLE:a-secret-of-aws:session-to", "a-secret-of-aws", "AKIAEXAMPLE", "session-to"},
	} {
		if got := partsOf(&ProviderKey{Secret: Secret(secret)}); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", secret, got, want)
		}
	}
}
