package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// invoke runs a command line in this process, with only the given variables.
func invoke(t *testing.T, env map[string]string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, &process{
		env:   func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs,
	})
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	none := map[string]string{"RELAY_DATA_DIR": t.TempDir()}
	url := map[string]string{"RELAY_DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "RELAY_DATA_DIR": t.TempDir()}
	for _, tc := range []struct {
		args   string
		env    map[string]string
		code   int
		stdout string
		stderr string
	}{
		{"", none, 2, "", "Commands"},
		{"help", none, 0, "client create ", ""},
		{"--help", none, 0, "key create", ""},
		{"help key create", none, 0, "--monthly-cap", ""},
		{"key create --help", none, 0, "printed this once", ""},
		{"audit --help", none, 0, "2 they could not be checked", ""},
		{"serve --help", none, 0, "RELAY_ADMIN_LISTEN", ""},
		{"bogus", none, 2, "", `unknown command "bogus"`},
		{"client", none, 2, "", `unknown command "client"`},
		{"client destroy x", none, 2, "", `unknown command "client destroy"`},
		{"migrate", none, 2, "", "RELAY_DATABASE_URL"},
		{"migrate --bogus", url, 2, "", "unknown flag --bogus"},
		{"migrate extra", url, 2, "", `unexpected argument "extra"`},
		{"credit acme", url, 2, "", "USD is missing"},
		{"credit acme ten", url, 2, "", "USD"},
		{"credit acme 1e3", url, 2, "", "USD"},
		{"key create --name n", url, 2, "", "--client is required"},
		{"key create --client c", url, 2, "", "--name is required"},
		{"key create --client c --name n --rpm -1", url, 2, "", "--rpm"},
		{"key create --client c --name n --monthly-cap -1", url, 2, "", "--monthly-cap"},
		{"key create --client c --name n --monthly-cap lots", url, 2, "", "--monthly-cap"},
		{"key create --client c --name n --expires soon", url, 2, "", "--expires"},
		{"client create n --multiplier 0", url, 2, "", "--multiplier"},
		{"client create n --credit=-1", url, 1, "", ""},
		{"audit --since yesterday", url, 2, "", "--since"},
		{"audit", url, 2, "", "could not check"},
		{"apply x", url, 2, "", "RELAY_SECRET_KEY"},
		{"serve", none, 2, "", "RELAY_DATABASE_URL"},
		{"serve", map[string]string{"RELAY_DATABASE_URL": "x", "RELAY_SECRET_KEY": "short"}, 2, "", "RELAY_SECRET_KEY"},
	} {
		code, stdout, stderr := invoke(t, tc.env, "", strings.Fields(tc.args)...)
		if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
			t.Errorf("admin %s: exit %d, stdout %q, stderr %q; want exit %d, stdout …%s…, stderr …%s…",
				tc.args, code, stdout, stderr, tc.code, tc.stdout, tc.stderr)
		}
		if tc.code != 0 && stdout != "" {
			t.Errorf("admin %s: failed and printed %q on stdout", tc.args, stdout)
		}
	}
}
