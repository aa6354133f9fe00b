package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Names that run.env holds besides settings: what `make run` made for its user.
const (
	RunDemoKey          = "RELAY_DEMO_KEY"          // the demo client's key
	RunOperatorEmail    = "RELAY_OPERATOR_EMAIL"    // console sign-in
	RunOperatorPassword = "RELAY_OPERATOR_PASSWORD" // console sign-in
	RunDatabase         = "RELAY_RUN_DATABASE"      // which database what follows is about
	RunProviders        = "RELAY_RUN_PROVIDERS"     // fingerprint of the providers that were applied last
	RunShipped          = "RELAY_RUN_SHIPPED"       // fingerprint of the shipped models that were applied last
	RunExported         = "RELAY_RUN_EXPORTED"      // fingerprint of the models as they stood right after
)

var runEnvOnly = map[string]bool{
	RunDemoKey: true, RunOperatorEmail: true, RunOperatorPassword: true,
	RunDatabase: true, RunProviders: true, RunShipped: true, RunExported: true,
}

// RunEnvPath returns the path of the file that `make run` keeps in a data folder.
func RunEnvPath(dataDir string) string { return filepath.Join(dataDir, "run.env") }

// ReadRunEnv reads RunEnvPath(dataDir): lines NAME=value, value plain or in double
// quotes, blank lines and # comments. The error is os.ErrNotExist if there is none.
func ReadRunEnv(dataDir string) (map[string]string, error) {
	path := RunEnvPath(dataDir)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings that make run keeps: %w", err)
	}
	values := map[string]string{}
	number := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("cannot read %s: line %d is not NAME=value", path, number)
		}
		if strings.HasPrefix(value, `"`) {
			value, err = strconv.Unquote(value)
			if err != nil {
				return nil, fmt.Errorf("cannot read %s: line %d has a broken quotation", path, number)
			}
		}
		values[name] = value
	}
	return values, nil
}

// WriteRunEnv writes the file for its owner's eyes only (0600), whole or not at all.
func WriteRunEnv(dataDir string, values map[string]string) error {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("# Kept by make run. Operator commands read it where these settings are absent. Secret.\n")
	for _, name := range names {
		value := values[name]
		if strings.ContainsAny(value, "\" \n\r\t#'\\$") {
			value = strconv.Quote(value)
		}
		b.WriteString(name + "=" + value + "\n")
	}
	path := RunEnvPath(dataDir)
	f, err := os.CreateTemp(dataDir, "run.env.*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone after the rename
	_, err = f.WriteString(b.String())
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
