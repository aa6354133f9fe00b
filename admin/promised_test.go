package main

import (
	"strings"
	"testing"
)

// Interface 4: the commands that operators may rely on, each with the flags it promises,
// and --json on all of them. The help says every one.
func TestPromisedCommands(t *testing.T) {
	none := map[string]string{"RELAY_DATA_DIR": t.TempDir()}
	_, help, _ := invoke(t, none, "", "help")
	for name, flags := range map[string]string{
		"serve": "--migrate", "migrate": "", "apply": "--dry-run", "export": "",
		"client create": "--group --credit --multiplier",
		"credit":        "--note",
		"key create":    "--client --name --models --monthly-cap --rpm --tpm --expires",
		"user create":   "--client --operator",
		"audit":         "", "audit ": "--strict", "proxy lost": "", "proxy list": "", "journal verify": "",
	} {
		name = strings.TrimSpace(name)
		if !strings.Contains(help, "\n  "+name+" ") {
			t.Errorf("the help does not have %q", name)
		}
		code, out, errs := invoke(t, none, "", append(strings.Fields(name), "--help")...)
		if code != 0 {
			t.Errorf("%s --help: %d %s", name, code, errs)
		}
		for _, flag := range strings.Fields("--json " + flags) {
			if !strings.Contains(out, "\n  "+flag+" ") && !strings.Contains(out, "\n  "+flag+"\n") {
				t.Errorf("%s has no %s:\n%s", name, flag, out)
			}
		}
	}
	// It is taken, not only told.
	if code, _, errs := invoke(t, none, "", "serve", "--json"); code != 2 || strings.Contains(errs, "--json") || !strings.Contains(errs, "RELAY_DATABASE_URL") {
		t.Errorf("serve --json: %d %s", code, errs)
	}
}
