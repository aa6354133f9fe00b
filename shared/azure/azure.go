// Package azure says where models of Azure OpenAI are asked: the one thing in which its
// address differs from everybody else's.
package azure

import (
	"bytes"
	"strings"
)

// DefaultVersion is the api-version of deployments where the provider's options name
// none: the last one that is generally available.
const DefaultVersion = "2024-10-21"

// AppendPath appends the path of an endpoint ("/chat/completions") to dst, which ends
// with the path of a provider's base URL. There are three:
//
//	https://NAME.openai.azure.com/openai/v1                the model stands in the body
//	https://NAME.openai.azure.com                          the deployment has the model's name
//	https://NAME.openai.azure.com/openai/deployments/NAME  all models are this deployment
//
// version is the option api_version, "" if there is none; the first kind needs none.
func AppendPath(dst []byte, model, endpoint, version string) []byte {
	base := dst[bytes.LastIndexByte(dst, ' ')+1:] // of a request line
	if bytes.HasSuffix(base, []byte("/v1")) {
		dst = append(dst, endpoint...)
		if version == "" {
			return dst
		}
		return append(append(dst, "?api-version="...), version...)
	}
	if version == "" {
		version = DefaultVersion
	}
	if !bytes.Contains(base, []byte("/deployments/")) {
		if !bytes.HasSuffix(base, []byte("/openai")) {
			dst = append(dst, "/openai"...)
		}
		if endpoint != "/responses" && !strings.HasPrefix(endpoint, "/responses/") { // these know no deployments
			dst = append(dst, "/deployments/"...)
			dst = appendSegment(dst, model)
		}
	}
	dst = append(dst, endpoint...)
	return append(append(dst, "?api-version="...), version...)
}

func appendSegment(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
