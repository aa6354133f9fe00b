package apierr

import "strconv"

// AppendMarkdown appends the catalogue as the page docs/errors.md.
func AppendMarkdown(dst []byte) []byte {
	dst = append(dst, `# Errors

Generated from shared/apierr by `+"`go generate ./shared/apierr`"+`; do not edit.

Every error that the relay makes carries the header `+"`x-relay-error`"+` with the code below; `+"`retry-after`"+`
stands on every 429 and 503 that can say when. The members of the body follow the protocol of the
path: OpenAI's have the type of the second table and the code as `+"`relay_code`"+` (but for 429, which has
exactly message, type and code).

| code | status | when | text |
| --- | --- | --- | --- |
`...)
	for i := range catalogue {
		c := &catalogue[i]
		dst = append(dst, "| `"...)
		dst = append(dst, c.Code...)
		dst = append(dst, "` | "...)
		dst = strconv.AppendInt(dst, int64(c.Status), 10)
		dst = append(dst, " | "...)
		dst = append(dst, c.When...)
		dst = append(dst, " | "...)
		switch {
		case c.limit != "":
			dst = append(dst, "Rate limit exceeded ("...)
			dst = append(dst, c.limit...)
			dst = append(dst, "). Retry after Ns."...)
		case c.Code == InsufficientBalance:
			dst = append(dst, c.Text[:len(c.Text)-1]...)
			dst = append(dst, " (need X, available Y)."...)
		default:
			dst = append(dst, c.Text...)
		}
		dst = append(dst, " |\n"...)
	}
	dst = append(dst, "\n| status | OpenAI type | Anthropic type | DashScope code | Gemini status |\n| --- | --- | --- | --- | --- |\n"...)
	for status := 400; status < 600; status++ {
		used := false
		for i := range catalogue {
			used = used || catalogue[i].Status == status
		}
		if !used {
			continue
		}
		k := kindOf(status)
		dst = append(dst, "| "...)
		dst = strconv.AppendInt(dst, int64(status), 10)
		for _, name := range []string{k.openAI, k.anthropic, k.dashScope, k.gemini} {
			dst = append(dst, " | "...)
			dst = append(dst, name...)
		}
		dst = append(dst, " |\n"...)
	}
	return dst
}
